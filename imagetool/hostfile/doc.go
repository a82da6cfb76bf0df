// Package hostfile opens what an image lies in on this host, a regular file or a block
// device, and makes sure that nobody else is using it.
//
// A File is a block.Device. Lock keeps others away from it until Close, and finds those
// who are there already: QEMU by its image locks (block/file-posix.c), anybody by locks
// of fcntl(2) and flock(2), loop devices, mounts, and for writing also who has the file
// open for that. Open refuses a file with an undo log; UndoPath is where that lies.
//
// Whoever lives above knows block.Device only, but for package output, which makes the
// files that vmseal writes.
package hostfile
