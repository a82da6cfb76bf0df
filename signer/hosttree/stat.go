package hosttree

import (
	"os"

	"golang.org/x/sys/unix"
)

// inode names a file on this machine.
type inode struct {
	dev, ino uint64
}

// stat is what is remembered of a file.
type stat struct {
	inode
	mode         uint16
	uid, gid     uint32
	links        uint32
	size         int64
	mtime, ctime unix.StatxTimestamp
	mountPoint   bool // the root of a mount lies on it
}

func (s stat) isDir() bool     { return s.mode&unix.S_IFMT == unix.S_IFDIR }
func (s stat) isRegular() bool { return s.mode&unix.S_IFMT == unix.S_IFREG }

// unchanged reports whether the contents are those of the earlier time. The
// change time tells of writes after which the modification time was set back.
func (s stat) unchanged(earlier stat) bool {
	return s.size == earlier.size && s.mtime == earlier.mtime && s.ctime == earlier.ctime
}

// statAt looks at a name in a directory without following it, or with the empty
// name at the descriptor itself. Only statx tells whether something is mounted
// on a name.
func statAt(f *os.File, name string) (stat, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), name, flags, unix.STATX_BASIC_STATS, &st); err != nil {
		return stat{}, err
	}
	return stat{
		inode:      inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino},
		mode:       st.Mode,
		uid:        st.Uid,
		gid:        st.Gid,
		links:      st.Nlink,
		size:       int64(st.Size),
		mtime:      st.Mtime,
		ctime:      st.Ctime,
		mountPoint: st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
	}, nil
}
