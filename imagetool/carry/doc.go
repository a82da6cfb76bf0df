// Package carry makes a file the same as a finished copy of it, under an undo log.
//
// Nobody knows what QEMU writes when a container changes, before it has. So it writes to
// a copy, and Compare finds what the copy has that the file has not: blocks, and a tail
// if it has grown. That is an undo.Change, planned to the last byte.
//
// While it is being written the file is marked: in place of what tells that it is a
// container it has text that tells people what happened. Whoever meets it half written,
// without its log, takes it for nothing.
package carry
