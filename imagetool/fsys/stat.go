package fsys

import (
	"syscall"
	"time"
)

// Stat is what stat(2) tells of a file.
type Stat struct {
	Number       uint64
	Mode         uint32 // st_mode: file type and permission bits
	UID, GID     uint32
	Links        uint32
	Size         int64 // bytes
	Mtime        time.Time
	Major, Minor uint32 // of the device that a device node stands for
}

func (s Stat) IsRegular() bool { return s.Mode&syscall.S_IFMT == syscall.S_IFREG }
func (s Stat) IsDir() bool     { return s.Mode&syscall.S_IFMT == syscall.S_IFDIR }
func (s Stat) IsSymlink() bool { return s.Mode&syscall.S_IFMT == syscall.S_IFLNK }

// Kind names the kind of file, as "regular file".
func (s Stat) Kind() string {
	switch s.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		return "regular file"
	case syscall.S_IFDIR:
		return "directory"
	case syscall.S_IFLNK:
		return "symbolic link"
	case syscall.S_IFCHR:
		return "character device"
	case syscall.S_IFBLK:
		return "block device"
	case syscall.S_IFIFO:
		return "fifo"
	case syscall.S_IFSOCK:
		return "socket"
	}
	return "file of unknown type"
}
