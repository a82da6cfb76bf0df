// Package hostile makes small file systems of every kind, spoils their metadata, and
// lets the real imagetool inspect, verify and sign what comes out, in a copy and
// in place. Whatever it is given, imagetool must not crash, hang or eat memory;
// what it refuses it must leave as it is; and what it signs must be clean for
// e2fsck, with nothing changed but the labels, for debugfs. Refusals that e2fsck does not
// share are listed: each of them needs a reason that is written in imagetool/ext4.
//
// With --containers it spoils the headers and tables of qcow2, VMDK, VHD, VHDX and VDI
// images instead. What is signed of these must hold a file system that is clean for
// e2fsck, and be the same disk whether signed in a copy or in place.
//
// With --archives it spoils tar archives. What is signed of these must not change when it is
// signed again, and in what GNU tar and bsdtar unpack of it every file must have a good
// signature.
//
// With --lvm it spoils the labels and the metadata of LVM2 on a disk with two physical
// volumes. Where the text was left alone, what is signed must hold a file system that is
// clean for e2fsck in its volume, and nothing else may have changed.
//
// Everything follows from --seed and an image's number, so that --only repeats
// one. Images that show a fault are kept with a description.
package hostile
