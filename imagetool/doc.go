// Package imagetool is a guest's disk image as a tree of files that can be
// signed and verified.
//
// It puts together the packages below it: disk finds the partitions and stages the
// output, ext4 reads the file systems and writes the labels, kernel makes the profile
// of the guest's kernel for the enforcer. An Image has one FileSystem for each ext2,
// ext3 or ext4 partition, or only the one that was asked for. Its Tree is what package
// signer works on; Sign does the whole work of one run:
//
//	check   the input, its file systems and whether the labels will fit
//	stage   a copy; all that follows reads and writes the copy only
//	sign    digest, sign and write the labels, then read them back
//	commit  recheck the input, give the copy, its manifest and the profile their names
//
// Diff compares two images.
//
// # Names
//
// Paths begin at the root of their file system. In an image with several of
// them, the number of the partition goes in front: "2:/etc/passwd". Rules see
// the path without it, and a manifest has the two apart.
package imagetool
