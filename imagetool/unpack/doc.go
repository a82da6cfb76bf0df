// Package unpack gives the disk in a compressed raw image (.gz, .xz, .zst), to be read
// only. It unpacks all of it to a temporary file without a name, in which zeros are holes,
// since a file system is read from everywhere at once.
//
// Memory is bounded, whatever the file asks for, and so is the size of the disk. What is
// in the file is not looked at here.
package unpack
