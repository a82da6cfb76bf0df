// Package volume has the names of the volumes of a guest's disk, as people write them, as
// they stand in front of paths ("2:/etc/passwd", "vg/root:/etc/passwd"), and as JSON has
// them: the number of a partition is a number, the name of a logical volume a string.
//
// The names of logical volumes are those that LVM2 takes: see validate_name in
// lib/misc/lvm-string.c.
package volume
