// Package undo makes changing an image in place safe, whoever writes to it: from a log
// the image gets back the exact bytes that it had.
//
// A Guard writes a log of all blocks that will change before any of them does, commits
// the changes, and removes the log when all is done. What fails on the way is undone at
// once; after a kill or a loss of power the log is there, and Recover undoes what was
// done by then. The Guard's user says what to write (Change), where the log is kept
// (Store), and gives the whole image as a Device.
//
// Write makes a log. Read checks one from its first to its last byte. Restore first
// holds the device against the log, and then writes the old bytes: a sector that holds
// neither what it held before nor what was to be written has been changed by somebody
// else, and nothing is touched. Restore may itself be cut short any number of times.
//
// A log has an image, its blocks and an end, each with a checksum: see "Undo log" in
// formats/README.md for the bytes, and imagetool/output for where a log is kept. The
// package relies on the standard library only, and knows nothing of files.
package undo
