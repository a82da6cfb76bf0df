// Package initrd makes the overlay that gives a guest its IMA policy: a small
// archive to append to the initrd of any distribution.
//
// The kernel unpacks the archives of an initrd one after the other into its first
// root file system. This one adds /vmseal-init, which is started with the kernel
// parameter rdinit=/vmseal-init, and /vmseal-policy, the rules one a line; and the
// mount points /proc and /sys, which not every initrd has.
//
// The archive is cpio in the "new ASCII" form (Documentation/driver-api/early-
// userspace/buffer-format.rst of the kernel). It is wrapped in gzip, since archives
// without compression would have to begin at a multiple of four bytes, and an initrd
// may end anywhere; but stored, so that no version of a compressor changes a byte.
package initrd
