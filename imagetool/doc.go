// Package imagetool is a guest's disk image as a tree of files that can be signed and
// verified.
//
// It is the room in which three things meet: where an image lies (hostfile), what lies
// where in it (disk), and what opens a file system (fsys/extfs). An Image has one
// FileSystem for each volume that holds one, or only the one that was asked for. Its
// Tree is what package signer works on. Copy and InPlace are the two ways of writing, and
// Carried is InPlace for a container.
//
//	sign verify diff inspect profile   what is done with an image
//	seals                              integrity layers of others, which signing breaks
//	imagetool                          Image, FileSystem, Tree
//	fsys    fsys/extfs -> ext4         what a file system is to those above; ext2 to ext4
//	disk -> lvm                        tables and volumes, found by one detector; LVM2
//	block                              what a disk is to those above
//	container -> nbd                   qcow2 and its kin, by QEMU's block layer
//	unpack                             compressed raw images
//	hostfile  output                   files and block devices of this host: in, out
//	undo                               what makes writing in place safe
//	carry                              a file becomes its finished copy, in place
//	kernel  initrd                     what the enforcer needs of a guest
//
// The two seams are block.Device and fsys.FileSystem. Whatever has a guest's bytes is the
// first, and tables, volumes, file systems, copies and the undo log lie on it; whatever
// has its files is the second, and all that is done with files knows no more. Recover
// needs neither: it brings back the bytes of a file.
//
// # Names
//
// Paths begin at the root of their file system. In an image with several of them, the
// number of the partition goes in front, or the name of the logical volume:
// "2:/etc/passwd", "vg/root:/etc/passwd". Rules see the path without it, and a manifest
// has the two apart.
package imagetool
