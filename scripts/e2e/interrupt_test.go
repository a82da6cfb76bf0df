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

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// TestInterrupted: a run that is told to stop, early or late, leaves the input as it was and nothing behind.
func TestInterrupted(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image := mke2fs(t, dir, 32, strings.Fields(refusedArgs)...)
	mounted(func(p *populator) {
		for i := range 1500 {
			p.write("files/"+itoa(i), []byte(fmt.Sprint("file ", i)))
		}
	})(t, image)
	whole := filepath.Join(dir, "whole.img")
	imagetool(t, "sign", "--key", k.private, image, "--out", whole).expect(t, 0)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, c := range []struct {
			when   string
			events []uint32 // in this order; only then the signal is sent
			late   bool     // the run may have been too quick to be stopped
		}{
			{"output-made", []uint32{unix.IN_CREATE}, false},
			{"copying", []uint32{unix.IN_CREATE, unix.IN_MODIFY}, false},
			{"digesting", []uint32{unix.IN_CREATE, unix.IN_MODIFY, unix.IN_ACCESS}, false},
			{"committing", []uint32{unix.IN_CREATE, unix.IN_MODIFY, unix.IN_ACCESS, unix.IN_MODIFY}, true},
		} {
			t.Run(sig.String()+"-when-"+c.when, func(t *testing.T) {
				t.Parallel()
				interrupt(t, k, image, whole, sig, c.events, c.late)
			})
		}
	}
}

// interrupt signs an image, sends the signal after the events, and looks at what is left: nothing, or, if that is
// allowed, the whole result.
func interrupt(t *testing.T, k *key, image, whole string, sig syscall.Signal, events []uint32, late bool) {
	t.Helper()
	folder, sum := bed.Dir(t), fileSum(t, image)
	out := filepath.Join(folder, "out.img")
	await := watchFolder(t, folder, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_ACCESS)
	cmd := bed.AsNobody("imagetool", "sign", "--key", k.private, image, "--out", out)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, event := range events {
		if err := await(event); err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("waiting for the run to get on: %v\n%s", err, stderr.String())
		}
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	left, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	switch code := cmd.ProcessState.ExitCode(); {
	case code == 0 && late && len(left) == 1:
		expectSame(t, "an undisturbed run and one that was too quick for the signal", whole, out)
	case code != 1 || !strings.Contains(stderr.String(), "interrupted") || len(left) != 0:
		t.Errorf("want exit code 1, a word of it and nothing left behind: %v, %v\n%s", cmd.ProcessState, left, stderr.String())
	}
	if fileSum(t, image) != sum {
		t.Error("the input image changed")
	}
}

// watchFolder returns what waits for one of these events in a folder. It gives up after a minute without any of them.
func watchFolder(t *testing.T, folder string, events uint32) (await func(event uint32) error) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, folder, events); err != nil {
		t.Fatal(err)
	}
	var seen []uint32 // and not yet awaited
	return func(event uint32) error {
		for {
			for len(seen) > 0 {
				next := seen[0]
				if seen = seen[1:]; next&event != 0 {
					return nil
				}
			}
			if seen, err = readEvents(fd); err != nil {
				return err
			}
		}
	}
}

func readEvents(fd int) (events []uint32, err error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000)
	switch {
	case err == unix.EINTR:
		return nil, nil
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errors.New("nothing happened for a minute")
	}
	b := make([]byte, 4096)
	if n, err = unix.Read(fd, b); err != nil {
		return nil, err
	}
	for at := 0; at < n; {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&b[at]))
		events = append(events, event.Mask)
		at += unix.SizeofInotifyEvent + int(event.Len)
	}
	return events, nil
}
