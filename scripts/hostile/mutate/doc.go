// Package mutate knows the metadata of ext2, ext3 and ext4 file systems, and of
// a GPT around one, field by field, and spoils it in ways that can be repeated.
//
//	Parse   finds every structure of a healthy image
//	Cases   all pairs of a field, by its name, and a way to spoil it
//	Spoil   applies some of them to a copy
//	Seal    makes the checksums of the copy right again
//
// It is an adversary and an oracle, so it shares no code with imagetool. Since
// it only ever parses what mke2fs made and e2fsck found clean, it trusts its
// input.
//
// The structures are those of fs/ext4, fs/jbd2 and fs/quota of the Linux kernel.
package mutate
