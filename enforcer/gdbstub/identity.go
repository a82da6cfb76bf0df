package gdbstub

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// identity names the process that listens at the other end by what no two processes
// of a host have in common: its id, when it was started (field 22 of proc(5)'s
// stat), and the boot of the host. Empty if that cannot be known.
func identity(fd int) string {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || peer.Pid <= 0 {
		return ""
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", peer.Pid))
	if err != nil {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	// The name of the program, field 2, is in parentheses and may hold any.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	return fmt.Sprintf("pid %d start %s boot %s", peer.Pid, fields[22-3], strings.TrimSpace(string(boot)))
}
