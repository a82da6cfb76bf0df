package main

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/signer/hosttree"
)

// hint says what a person may do about an error.
func hint(err error) string {
	switch {
	case errors.Is(err, hosttree.ErrPrivilege):
		return "security attributes can be set with CAP_SYS_ADMIN only, and not from within a container: run as root. " +
			"Without root: sign a disk image with imagetool, or let 'signer blob' make the values"
	case errors.Is(err, hosttree.ErrUnsupported):
		return "ext4, xfs, btrfs and tmpfs have them; vfat and most network file systems have not"
	case errors.Is(err, hosttree.ErrOnlyReadable):
		return "sign the files before this file system is made of them"
	case errors.Is(err, unix.EROFS):
		return "mount it for writing: mount -o remount,rw DIR"
	case errors.Is(err, unix.ENOSYS):
		return "Linux 5.6 or later is needed"
	case errors.Is(err, fs.ErrNotExist):
		return "a relative path begins at the current directory; for what lies within a disk image there is imagetool"
	case errors.Is(err, fs.ErrPermission):
		return "signer has to be able to read files, also those that only root can: run it as root, or leave them out"
	case errors.Is(err, fs.ErrExist):
		return "existing files are not replaced: choose another place, or move them away"
	}
	return ""
}
