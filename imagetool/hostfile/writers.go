package hostfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkWriters finds those who have the file open for writing, without any lock too.
// The kernel grants a read lease only if there are none. Where it cannot tell (a
// block device, somebody else's file, some network file systems), locks have to do.
func (m *File) checkWriters() error {
	_, err := unix.FcntlInt(m.opened.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		if inUse, ok := errors.AsType[*InUseError](m.LockPending(ForReading)); ok {
			return inUse // locks may tell who it is where files do not
		}
		return &InUseError{Path: m.Name(), How: "it is open for writing", Holder: writerOf(&m.stat)}
	}
	if err != nil {
		return nil
	}
	if _, err := unix.FcntlInt(m.opened.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		return fmt.Errorf("giving back a lease on %s: %w", m.Name(), err)
	}
	return nil
}

// writerOf searches the processes that we may look into for one that has the file
// open for writing. It returns "" if none shows it.
func writerOf(st *unix.Stat_t) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		var of unix.Stat_t
		if unix.Stat(fd, &of) != nil || of.Dev != st.Dev || of.Ino != st.Ino {
			continue
		}
		part := strings.Split(fd, "/")
		if openFlags(filepath.Join("/proc", part[2], "fdinfo", part[4]))&unix.O_ACCMODE != unix.O_RDONLY {
			return processName(part[2])
		}
	}
	return ""
}

// openFlags reads the "flags:" of fdinfo, which are octal.
func openFlags(info string) int {
	b, _ := os.ReadFile(info)
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("flags:")); ok {
			flags, _ := strconv.ParseInt(string(bytes.TrimSpace(rest)), 8, 64)
			return int(flags)
		}
	}
	return unix.O_RDONLY
}

// deviceHolder names what has claimed a block device, as far as the kernel shows it:
// a device on top of it, or where it or a partition of it is mounted.
func deviceHolder(dev uint64) string {
	sys, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return ""
	}
	holders, _ := filepath.Glob(filepath.Join(sys, "holders", "*"))
	inner, _ := filepath.Glob(filepath.Join(sys, "*", "holders", "*"))
	for _, h := range append(holders, inner...) {
		return "/dev/" + filepath.Base(h)
	}
	numbers, _ := filepath.Glob(filepath.Join(sys, "*", "dev"))
	for _, file := range append(numbers, filepath.Join(sys, "dev")) {
		number, _ := os.ReadFile(file)
		if at := mountPoint(strings.TrimSpace(string(number))); at != "" {
			return "mounted at " + at
		}
	}
	return ""
}

// mountPoint finds a device number ("254:1") in proc(5)'s mountinfo.
func mountPoint(number string) string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) > 4 && w[2] == number {
			return mangled.Replace(w[4])
		}
	}
	return ""
}

// mangled are the characters that show_mountinfo (fs/proc_namespace.c) escapes.
var mangled = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`)
