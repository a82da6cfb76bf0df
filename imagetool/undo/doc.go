// Package undo is the log from which an image that was changed in place, but not to
// the end, gets back the exact bytes that it had.
//
// Write makes a log of all blocks that will change, before any of them does. Read
// checks a log from its first to its last byte. Restore first holds the device
// against the log, and then writes the old bytes: a sector that holds neither what
// it held before nor what was to be written has been changed by somebody else, and
// nothing is touched. Restore may itself be cut short any number of times.
//
// A log is a sequence of frames, all numbers little-endian:
//
//	magic   16 bytes: "vmseal undo 1\n" and two zeros
//	frame   length of the payload (4), the payload, its SHA-256 (32)
//
// The first byte of a payload is its kind:
//
//	'I'  the image: its size (8), its name
//	'B'  a block: offset (8), length (4), number of versions (1), then the old bytes,
//	     preceded by 1, or a single 0 for bytes that are all zero, then for each
//	     version the SHA-256 of each of its sectors
//	'E'  the end: number of blocks (8), SHA-256 of all that precedes this frame
//
// A sector is 512 bytes: what a disk writes whole or not at all. Frames are 'I', any
// number of 'B', 'E', and nothing behind. The package relies on the standard library
// only, and knows nothing of files: see imagetool/disk for where a log is kept.
package undo
