package hostfile

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// holderOf names the process behind a lock. The kernel knows it for the locks of
// a process only; those of an open file description are searched for.
func holderOf(f *os.File, lk *unix.Flock_t) string {
	if lk.Pid > 0 {
		return processName(strconv.Itoa(int(lk.Pid)))
	}
	return lockHolder(f, lk.Start)
}

// lockHolder searches the processes that we may look into for a lock over the
// byte at the given offset. It returns "" if none shows it.
func lockHolder(f *os.File, at int64) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return ""
	}
	self := strconv.Itoa(os.Getpid())
	infos, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	for _, info := range infos {
		pid := strings.Split(info, "/")[2]
		if pid != self && showsLock(info, &st, at) {
			return processName(pid)
		}
	}
	return ""
}

// flockHolder names a process whose lock of flock(2) does not go with ours. Unlike
// fdinfo, /proc/locks tells it of processes that we may not look into, such as an
// imagetool that has opened a private key. Its lines (lock_get_status in fs/locks.c):
//
//	1: FLOCK  ADVISORY  WRITE 4711 fe:00:1837 0 EOF
func flockHolder(st *unix.Stat_t, mode LockMode) string {
	file, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) != 8 || w[1] != "FLOCK" || w[5] != lockedInode(st) || mode != ForWriting && w[3] != "WRITE" {
			continue
		}
		if pid, err := strconv.Atoi(w[4]); err == nil && pid > 0 && pid != os.Getpid() {
			return processName(w[4])
		}
	}
	return ""
}

func lockedInode(st *unix.Stat_t) string {
	return fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
}

// showsLock reads the lines that show_fd_locks (fs/locks.c) writes to fdinfo:
//
//	lock:	1: OFDLCK  ADVISORY  READ -1 fe:00:1837 101 101
func showsLock(info string, st *unix.Stat_t, at int64) bool {
	file, err := os.Open(info)
	if err != nil {
		return false
	}
	defer file.Close()
	inode := lockedInode(st)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) != 9 || w[0] != "lock:" || w[6] != inode {
			continue
		}
		start, err := strconv.ParseInt(w[7], 10, 64)
		if err != nil || start > at {
			continue
		}
		if end, err := strconv.ParseInt(w[8], 10, 64); w[8] == "EOF" || err == nil && end >= at {
			return true
		}
	}
	return false
}

func processName(pid string) string {
	comm, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "pid " + pid
	}
	return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), pid)
}
