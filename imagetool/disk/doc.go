// Package disk finds the partitions of a raw disk image, makes sure that nobody
// else is using it, and writes a changed copy of it.
//
// It works without root, without a loop device and without mounting:
//
//	Probe, Open  the container, the partition table and what each partition holds
//	Image.Lock   keeps writers away, QEMU included, until Close
//	Stage        a sparse or reflinked copy beside the output, renamed by Commit
//
// Only raw images are read. Every other container is recognised and refused by
// its name, and so is whatever has two readings: two file systems in one place, a
// file system beside a partition table, a table that reaches past the image.
//
// GPT and MBR are decoded by go-diskfs, whose partition packages trust the sizes
// that they read; this package checks those before and the result afterwards.
// The rules are those of the Linux kernel (block/partitions/efi.c and msdos.c),
// the magic numbers those of the file systems' own headers, the locks those of
// QEMU (block/file-posix.c).
package disk
