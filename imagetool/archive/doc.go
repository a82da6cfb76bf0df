// Package archive reads tar archives block by block, and gives their members a
// security.ima value without touching anything else.
//
// A Reader gives one Member after another, with the very bytes of its headers; its data
// and the end of the archive are copied as they are. So an archive of any kind (V7, ustar,
// pax, GNU, star) comes out as it went in, but for one pax record of the members that get
// a value: SCHILY.xattr.security.ima, where GNU tar and libarchive keep an extended
// attribute. libarchive keeps a second one in base64, LIBARCHIVE.xattr.security.ima: where
// there is one, it gets the same value.
//
// Contents are those that a file has once it is unpacked: the holes of a sparse member
// (old GNU, pax 0.0, 0.1 and 1.0) are zeros.
//
// What readers of tar disagree about is refused, since it is not clear which file would be
// unpacked. Memory is bounded by the limits in this package, whatever an archive says.
//
// The formats are described in pax(1) of POSIX.1-2017, in tar.h and "Sparse Formats" of the
// manual of GNU tar 1.34, and in tar(5) of libarchive. Nothing here knows what a value
// means: package stream signs and verifies.
package archive
