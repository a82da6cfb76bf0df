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
// Everything follows from --seed and an image's number, so that --only repeats
// one. Images that show a fault are kept with a description.
package hostile
