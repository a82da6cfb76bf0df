// Package disk finds out what lies on a disk: its partition table, the volumes in it and
// what each of those holds.
//
// Detect is the one detector. It knows every signature that imagetool has a name for:
// containers, tables, file systems, and what hides one. A volume that has volumes of its
// own is looked at in the same way, one level down. A Volume is a place only; On gives
// the device, on the disk that it was found on or on a copy.
//
// Only raw disks are read. Every other container is recognised and refused by
// its name, and so is whatever has two readings: two file systems in one place, a
// file system beside a partition table, a table that reaches past the disk.
//
// GPT and MBR are decoded by go-diskfs, whose partition packages trust the sizes
// that they read; this package checks those before and the result afterwards.
// The rules are those of the Linux kernel (block/partitions/efi.c and msdos.c),
// the magic numbers those of the file systems' own headers. The package writes nothing,
// and knows no file of the host.
package disk
