// Package fsys is the seam between a file system in a guest's image and what is done
// with its files.
//
// A FileSystem lies on a block.Device. It is opened by a Driver, and Check gives its
// Listing: every regular file with all its names. Labels are staged in an Edit, which
// Prepare turns into a Transaction: all that will be written, to the last byte. Whoever
// commits it decides where, and what keeps that safe (imagetool/undo).
//
// imagetool/fsys/extfs is the driver for ext2, ext3 and ext4. The package has no code
// but for what all of them share, and relies on imagetool/block and imagetool/undo.
package fsys
