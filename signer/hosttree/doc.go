// Package hosttree makes a signer.Tree of what lies below mounted directories.
//
// The tree may be live, and others may rename and replace files while it is
// worked on. So nothing is ever reached by a path alone: each open goes through
// openat2(2) from a descriptor of the directory that was named, with
// RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_XDEV, and what was opened
// must be the inode that was listed, with the size and the times that it had
// then. Labels are read and set through that same descriptor. A symbolic link is
// never followed, a mount point below what was named never crossed, and a file
// that was replaced or written to in the meantime is an error of that file.
//
// What can still happen is a write between the reading of a file and the setting
// of its label. Such a label does not verify; it fails safe.
//
// Setting security.ima needs CAP_SYS_ADMIN in the initial user namespace
// (cap_inode_setxattr in security/commoncap.c). Linux 5.6 or later is needed for
// openat2.
package hosttree
