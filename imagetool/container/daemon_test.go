package container

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func start(t *testing.T) *Disk {
	t.Helper()
	d, err := openContainer(t, create(t, "a.qcow2", "qcow2")).Disk()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Abort() })
	return d
}

func expectError(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v, want %q", err, w)
		}
	}
}

// TestMissing: a program that is not installed is named, with its package.
func TestMissing(t *testing.T) {
	c := openContainer(t, create(t, "a.qcow2", "qcow2"))
	t.Setenv("PATH", t.TempDir())
	_, err := c.Disk()
	missing, ok := errors.AsType[*MissingError](err)
	if !ok || !strings.Contains(missing.Advice(), "qemu-system-common and qemu-utils") {
		t.Errorf("error %v", err)
	}
	expectError(t, err, "qemu-storage-daemon is not installed")
}

// TestDies: the daemon ends while it is needed.
func TestDies(t *testing.T) {
	d := start(t)
	d.daemon.cmd.Process.Kill()
	_, err := d.ReadAt(make([]byte, 512), 0)
	expectError(t, err, "reading 65536 bytes at 0: the NBD server has hung up; qemu-storage-daemon ended with signal: killed")
}

// TestHangs: the daemon does not answer any more.
func TestHangs(t *testing.T) {
	defer func(limit time.Duration) { requestLimit = limit }(requestLimit)
	d := start(t)
	d.daemon.cmd.Process.Signal(unix.SIGSTOP)
	requestLimit = 300 * time.Millisecond
	late, err := openContainer(t, create(t, "b.qcow2", "qcow2")).Disk()
	if err != nil {
		t.Fatal(err)
	}
	defer late.Abort()
	late.daemon.cmd.Process.Signal(unix.SIGSTOP)
	_, err = late.ReadAt(make([]byte, 512), 0)
	expectError(t, err, "has not answered for 300ms", "qemu-storage-daemon was killed")
}

// TestNonsense: what runs under the daemon's name is something else, or the daemon cannot
// open the image.
func TestNonsense(t *testing.T) {
	c := openContainer(t, create(t, "a.qcow2", "qcow2"))
	dir, path := t.TempDir(), os.Getenv("PATH")
	for script, want := range map[string]string{
		"echo first >&2; echo last words >&2; exit 3": "qemu-storage-daemon ended with exit status 3: last words",
		"exit 0": "qemu-storage-daemon ended by itself",
		`exec python3 -c 'import socket; s = socket.socket(fileno=3); c, _ = s.accept(); c.send(b"SSH-2.0-OpenSSH_9.2p1"); c.recv(1)'`: "breaks the protocol: it does not greet",
	} {
		if err := os.WriteFile(filepath.Join(dir, daemonName), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+path)
		_, err := c.Disk()
		expectError(t, err, "opening it as qcow2", want)
	}
	t.Setenv("PATH", path)
	broken := create(t, "b.qcow2", "qcow2")
	poke(t, broken, 40, []byte{1, 2, 3, 4, 5, 6, 7, 8}) // l1_table_offset
	_, err := openContainer(t, broken).Disk()
	expectError(t, err, "qemu-storage-daemon ended with exit status 1: ", "L1 table")
}

// TestSize: QEMU has to see the disk that the header tells of.
func TestSize(t *testing.T) {
	c := openContainer(t, create(t, "a.qcow2", "qcow2"))
	c.Size += 4096
	_, err := c.Disk()
	expectError(t, err, "the disk has 16781312 bytes by its header, and QEMU reads 16777216")
}

// TestKilled: the daemon does not outlive us.
func TestKilled(t *testing.T) {
	if path := os.Getenv("VMSEAL_TEST_KILLED"); path != "" {
		d, err := openContainer(t, path).Disk()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\n%s%d\n", daemonName, d.daemon.cmd.Process.Pid)
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
	cmd.Env = append(os.Environ(), "VMSEAL_TEST_KILLED="+create(t, "a.qcow2", "qcow2"))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if number, ok := strings.CutPrefix(lines.Text(), daemonName); ok {
			pid, _ = strconv.Atoi(number)
		}
	}
	fd, err := unix.PidfdOpen(pid, 0)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatal(pid, err)
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000); n != 1 {
		t.Errorf("the daemon lives on: %v", err)
	}
}

// TestStop: what was written is in the file when Close returns.
func TestStop(t *testing.T) {
	path := create(t, "a.qcow2", "qcow2", "lazy_refcounts=on")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := openContainer(t, path)
	d, err := c.Scratch(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("text"), 5*mib); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openContainer(t, path).Disk() // not dirty
	if err != nil {
		t.Fatal(err)
	}
	defer again.Abort()
	b := make([]byte, 4)
	if _, err := again.ReadAt(b, 5*mib); err != nil || string(b) != "text" {
		t.Errorf("%q, %v", b, err)
	}
}
