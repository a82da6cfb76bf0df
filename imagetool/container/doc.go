// Package container opens images that are not raw: qcow2, VMDK, VHD (which QEMU calls
// vpc), VHDX and VDI. The bytes of the guest's disk come from QEMU's own block layer, a
// qemu-storage-daemon that Container.Disk starts; imagetool/nbd talks to it.
//
// Formats are said, not believed. A guest can write any header into its raw disk, so Open
// goes by what a person says, or else by the name of the file and its magic number
// together. The daemon is told the driver of each file and never probes.
//
// No file of the host is opened that was not named. The headers are read here, before the
// daemon sees them: what refers to other files (a backing file, a data file, extents) is
// refused unless the file was named, and so is what cannot be changed safely: encryption,
// snapshots, an image that was not closed. The daemon gets open files
// (/proc/self/fd/N) instead of names, and backing files as nodes of its own.
//
// Locks are those of imagetool/hostfile. The daemon takes none; it writes to nothing but
// a scratch copy (Container.Scratch), it ends with this process, and it is killed if it
// does not answer.
//
// The specifications are docs/interop/qcow2.txt of QEMU, "Virtual Disk Format 5.0" of
// VMware, "Virtual Hard Disk Image Format" and MS-VHDX of Microsoft, and block/vdi.c of
// QEMU for VDI.
package container
