package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestInterrupted: a run that is told to stop, early or late, leaves the input as it was and nothing behind.
func TestInterrupted(t *testing.T) {
	need(t, "mke2fs", "losetup", "openssl")
	dir, k := workDir(t), testKey(t, "rsa4096", 4096) // slow to sign with: the signal comes while work is going on
	image := mke2fs(t, dir, 32, strings.Fields(refusedArgs)...)
	mounted(func(p *populator) {
		for i := range 1500 {
			p.write("files/"+itoa(i), []byte(fmt.Sprint("file ", i)))
		}
	})(t, image)
	sum := fileSum(t, image)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for after, events := range map[string]int{"output-is-made": 1, "first-write": 2, "some-writes": 20} {
			t.Run(sig.String()+"-after-"+after, func(t *testing.T) {
				folder := workDir(t)
				watch := watchFolder(t, folder)
				cmd := ours("imagetool", true, "sign", "--key", k.private, image, "--out", filepath.Join(folder, "out.img"))
				var stderr strings.Builder
				cmd.Stderr = &stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if err := watch(events); err != nil {
					cmd.Process.Kill()
					t.Fatalf("waiting for the run to write: %v, %s", err, stderr.String())
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "interrupted") {
					t.Errorf("want exit code 1 and a word of it: %v\n%s", cmd.ProcessState, stderr.String())
				}
				left, err := os.ReadDir(folder)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range left {
					t.Errorf("it left %s behind", e.Name())
				}
				if fileSum(t, image) != sum {
					t.Error("the input image changed")
				}
			})
		}
	}
}

// watchFolder returns what waits until files in the folder were created or written to so many times. It gives up after
// a minute without any.
func watchFolder(t *testing.T, folder string) func(events int) error {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, folder, unix.IN_CREATE|unix.IN_MODIFY); err != nil {
		t.Fatal(err)
	}
	return func(events int) error {
		b := make([]byte, 4096)
		for seen := 0; seen < events; {
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000); err != nil && err != unix.EINTR {
				return err
			} else if n == 0 && err == nil {
				return errors.New("nothing was written for a minute")
			}
			n, err := unix.Read(fd, b)
			if err != nil {
				return err
			}
			for at := 0; at < n; seen++ {
				at += unix.SizeofInotifyEvent + int((*unix.InotifyEvent)(unsafe.Pointer(&b[at])).Len)
			}
		}
		return nil
	}
}
