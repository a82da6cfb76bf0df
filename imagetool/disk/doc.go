// Package disk finds out what lies on a disk: its partition table, the volumes in it and
// what each of those holds.
//
// Detect is the one detector. It knows every signature that imagetool has a name for:
// containers, tables, file systems, and what hides one. A volume that has volumes of its
// own is looked at in the same way, one level down. Logical volumes (imagetool/lvm) come
// last, since one may lie on several partitions. A Volume is a place only; On gives the
// device, on the disk that it was found on or on a copy.
//
// Only raw disks are read; imagetool/container has the disks in containers. Here a
// container is recognised and refused by its name. So is whatever has two readings, unless somebody chooses: two file systems in
// one place, a file system beside a partition table.
//
// Tables are read as the Linux kernel does (block/partitions/efi.c, msdos.c and core.c):
// a valid primary GPT behind a protective or hybrid MBR, whatever its backup says; else
// an MBR with its logical partitions. What the kernel ignores or shortens is a Warning, a
// volume that it would not make is a Problem of that volume, and so is one that lies over
// another, or over the table. An image does not tell the size of its disk's sectors: 512
// or 4096, as the table or the contents of the volumes have it.
//
// The entries of a GPT are decoded by go-diskfs, behind the checks of is_gpt_valid. Its
// reader of MBRs knows no logical partitions and no sectors of 4096 bytes; these 64 bytes
// are read here. The magic numbers are those of the file systems' own headers. The
// package writes nothing, and knows no file of the host.
package disk
