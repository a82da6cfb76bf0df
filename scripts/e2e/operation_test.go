package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// An operation is a system call on a file that a supervised command is about to make.
type operation struct {
	n    int // the how many-th it is, over all threads
	name string
	path string // of its file; the new one where it names two
}

func (o operation) String() string {
	return fmt.Sprintf("operation %d (%s of %s)", o.n, o.name, filepath.Base(o.path))
}

// changes reports whether the operation writes, or makes durable what was written.
func (o operation) changes() bool {
	switch o.name {
	case "open", "stat", "access", "fstat", "lseek", "read", "pread64", "fcntl", "flock":
		return false
	}
	return true
}

// A call is what is known of a system call: which of its arguments says which file it is about.
type call struct {
	name  string
	index int
	path  bool // the argument points to a path, and is no descriptor
}

// calls are those that read or change files, as far as Go's runtime and our commands make any.
var calls = map[uint32]call{
	unix.SYS_OPENAT:          {"open", 1, true},
	statNumber():             {"stat", 1, true},
	unix.SYS_FACCESSAT:       {"access", 1, true},
	unix.SYS_FACCESSAT2:      {"access", 1, true},
	unix.SYS_FSTAT:           {"fstat", 0, false},
	unix.SYS_LSEEK:           {"lseek", 0, false},
	unix.SYS_READ:            {"read", 0, false},
	unix.SYS_PREAD64:         {"pread64", 0, false},
	unix.SYS_FCNTL:           {"fcntl", 0, false},
	unix.SYS_FLOCK:           {"flock", 0, false},
	unix.SYS_WRITE:           {"write", 0, false},
	unix.SYS_PWRITE64:        {"pwrite64", 0, false},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2, false},
	unix.SYS_FTRUNCATE:       {"ftruncate", 0, false},
	unix.SYS_FCHMOD:          {"fchmod", 0, false},
	unix.SYS_FSYNC:           {"fsync", 0, false},
	unix.SYS_FDATASYNC:       {"fdatasync", 0, false},
	unix.SYS_MKDIRAT:         {"mkdir", 1, true},
	unix.SYS_RENAMEAT:        {"rename", 3, true},
	unix.SYS_RENAMEAT2:       {"rename", 3, true},
	unix.SYS_LINKAT:          {"link", 3, true},
	unix.SYS_UNLINKAT:        {"unlink", 1, true},
}

// statNumber is newfstatat, which does not have one name on all architectures.
func statNumber() uint32 {
	if runtime.GOARCH == "arm64" {
		return 79
	}
	return 262
}

// file is the path of the file that a system call of a thread is about, or "".
func (c call) file(thread uint32, args [6]uint64) string {
	if !c.path {
		path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", thread, int32(args[c.index])))
		return path
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", thread))
	if err != nil {
		return ""
	}
	defer memory.Close()
	b := make([]byte, unix.PathMax)
	n, _ := memory.ReadAt(b, int64(args[c.index])) // less than that, where the mapping ends
	path, _, _ := bytes.Cut(b[:n], []byte{0})
	if fd, ok := strings.CutPrefix(string(path), "/proc/self/fd/"); ok { // a file that is opened once more
		name, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", thread, fd))
		return name
	}
	return string(path)
}
