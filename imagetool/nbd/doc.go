// Package nbd is a client of the Network Block Device protocol, small and for one kind of
// server: a process on this host that exports a disk on a private unix socket.
//
// A Client is a block.Device. It speaks the fixed newstyle handshake (NBD_OPT_GO, else
// NBD_OPT_EXPORT_NAME), structured replies and block status in the context
// "base:allocation" where the server has them, and reads, writes, writes zeros and
// flushes. There is no TCP and no TLS.
//
// The server is not trusted: every length is bounded, whatever does not belong to the
// request in hand ends the connection with an error that says so, and no request takes
// longer than a limit. Chunks of a read have to come in ascending order, as QEMU sends
// them; the protocol would allow any.
//
// The names of constants are those of doc/proto.md of the NBD project, which is the
// specification. The package relies on the standard library and package block.
package nbd
