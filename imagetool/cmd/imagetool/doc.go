// Command imagetool signs and verifies the files of a guest's disk image without
// root, without mounting it and without a loop device.
//
// Each command has a file of its own. What they share with the command signer
// (flags, output, exit codes) is in package cli; what they do, in the packages below
// imagetool that are called as they are.
package main
