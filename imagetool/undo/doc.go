// Package undo is the log from which an image that was changed in place, but not to
// the end, gets back the exact bytes that it had.
//
// Write makes a log of all blocks that will change, before any of them does. Read
// checks a log from its first to its last byte. Restore first holds the device
// against the log, and then writes the old bytes: a sector that holds neither what
// it held before nor what was to be written has been changed by somebody else, and
// nothing is touched. Restore may itself be cut short any number of times.
//
// A log has an image, its blocks and an end, each with a checksum: see "Undo log" in
// formats/README.md for the bytes, and imagetool/disk for where a log is kept. The
// package relies on the standard library only, and knows nothing of files.
package undo
