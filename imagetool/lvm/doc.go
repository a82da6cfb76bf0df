// Package lvm finds the logical volumes of LVM2 on the partitions of a disk.
//
// A physical volume begins with a label, which says where its metadata areas are. A
// metadata area is a ring with texts; its header says which of them counts. A text has a
// whole volume group: its physical volumes, and of which of their extents each logical
// volume is made. Read reads the label and all texts of one device, and Assemble puts
// devices together:
//
//	label.go     struct label_header and pv_header: what marks a physical volume
//	area.go      struct mda_header and raw_locn: the text that counts
//	text.go      the form of the text
//	group.go     what the text says of a group
//	extents.go   the extents of a logical volume, and whether it is linear
//	assemble.go  groups on the devices that there are
//
// Linear volumes are all that is read. Any other kind, and a group that is not whole,
// exported, or that a host may have locked, is found and refused by name: the device
// mapper would show other bytes than those that lie there, or others may write to them.
//
// Where copies of the metadata differ, the newest counts, as for LVM2; copies that are
// damaged or old are warnings. Whatever LVM2 would not take as metadata is refused, and so
// are logical volumes that lie over each other or over metadata, which it would take: to
// write to one would change the other.
//
// The format is that of lib/format_text and lib/label in the sources of LVM2. The package
// relies on imagetool/block and the standard library, never writes, and takes memory for a
// bounded number of texts of bounded size.
package lvm
