// Package block is the seam between what holds the bytes of a guest's disk and what
// reads and changes them.
//
// A Device is the whole of a disk, or a part of one that is a Device again: a Section.
// Partitions and volumes (imagetool/disk) lie on it, file systems (imagetool/fsys) lie
// on those, and copies, digests and the undo log work on it. Who opens devices is
// another room: imagetool/hostfile has the files and block devices of this host.
//
// The package relies on the standard library only, and knows no file.
package block
