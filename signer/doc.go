// Package signer puts labels on the regular files of a tree, and checks them.
//
// A label is the value of the extended attribute security.ima, as the Linux
// integrity subsystem reads it: package formats/ima has the layout. Sign lists a
// Tree, digests its files, signs each distinct digest once and hands the labels
// back to the tree; Verify reads contents and labels and says what is wrong with
// which file. The trees themselves are elsewhere: hosttree for a mounted
// directory, imagetool for a disk image.
//
// Two properties make the work cheap to repeat. PKCS #1 v1.5 signatures (RFC
// 8017, section 8.2) are deterministic, so a label that verifies under the key
// at hand is the label that would be written, and it is kept without asking the
// private key. And a signature depends on contents alone, so labels of an
// earlier build can be taken over by digest (Reuse).
//
// Nothing here prints, and nothing here decides what a finding is worth: that is
// for the commands.
package signer
