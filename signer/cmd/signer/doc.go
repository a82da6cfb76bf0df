// Command signer makes keys, signs and verifies files of mounted directories,
// and makes label values for those who set them by other means.
//
// It is the command line of the packages keys/private (keys), signer and
// signer/hosttree (mounted directories) and signer/rules; what it prints and how
// it exits is described in signer/cli. Labels are what "evmctl ima_sign" sets.
package main
