// Package stream signs and verifies the files of a tar archive in one pass, from any reader
// to any writer.
//
// What becomes of a file is decided by package signer, to which each member is a tree of one
// file: rules, keys, labels that are kept or reused, and contents that are not signed are
// the same as for an image. Here is only what a stream has of its own: the value stands
// before the contents that it is made of, so a member waits in a spool (in memory, or in a
// temporary file if it is large) until it is signed. As many wait as there are processors
// to sign them and some more, and they leave in the order in which they came. Memory does
// not depend on the size of the archive.
//
// A hard link comes after the file that it names, which has been written by then: the rules
// for the first name decide, and a link whose name asks for more is an error.
package stream
