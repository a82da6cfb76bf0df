package undo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/imagetool/ext4"
)

// TestFaults lets each operation of a run fail in turn, once and from there on. The
// image is then as it was and has no log, or it has one and recovers.
func TestFaults(t *testing.T) {
	names := []string{"metadata_csum", "labels in inodes", "two file systems"}
	if testing.Short() {
		names = names[:1]
	}
	operations, undone := 0, 0
	for _, name := range names {
		kind := crashKinds[slices.IndexFunc(crashKinds, func(k crashKind) bool { return k.name == name })]
		system := makeCrashImage(t, kind.size, kind.args)
		f := &faulty{kind: kind, size: int64(len(system)), before: bytes.Repeat(system, kind.count)}
		f.after = sign(t, f.before, f.size, kind.count, kind.label, 1).data
		for _, fault := range []error{unix.ENOSPC, unix.EIO, unix.EROFS} {
			for _, persistent := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %v, persistent %v", kind.name, fault, persistent), func(t *testing.T) {
					for n := 0; ; n++ {
						done, u := f.run(t, n, fault, persistent)
						if done {
							break
						}
						operations++
						if u {
							undone++
						}
					}
				})
			}
		}
	}
	t.Logf("%d operations failed: %d runs were undone at once, %d were left to recover", operations, undone, operations-undone)
	if undone == 0 || undone == operations {
		t.Error("one of the two was not met")
	}
}

// faulty is what a run on a faulty disk begins with, and what it would end with.
type faulty struct {
	kind          crashKind
	size          int64
	before, after []byte
}

// run lets operation n fail. It is done if there are not so many.
func (f *faulty) run(t *testing.T, n int, fault error, persistent bool) (done, undone bool) {
	p := &platter{data: bytes.Clone(f.before)}
	g, changes := prepare(t, p, f.size, f.kind.count, f.kind.label, 1)
	count := 0
	p.fault = func() error {
		if count++; count-1 == n || persistent && count > n {
			return fault
		}
		return nil
	}
	err := g.Commit(unchanged, changes)
	if err == nil {
		err = g.Finish()
	}
	p.fault = nil
	if count <= n {
		if err != nil || !bytes.Equal(p.data, f.after) {
			t.Fatalf("without a fault: %v", err)
		}
		return true, false
	}
	if !errors.Is(err, fault) {
		t.Fatalf("operation %d: %v instead of %v", n, err, fault)
	}
	if undone = p.log == nil; !undone {
		var cut *CutShortError
		var stays *LogStaysError
		if !errors.As(err, &cut) && !(errors.As(err, &stays) && bytes.Equal(p.data, f.after)) {
			t.Fatalf("operation %d: the log is still there, and the error does not say so: %v", n, err)
		}
		if err := p.recover(); err != nil {
			t.Fatalf("operation %d: recovering: %v", n, err)
		}
	}
	if !bytes.Equal(p.data, f.before) {
		t.Fatalf("operation %d: the image is not as it was", n)
	}
	return false, undone
}

// TestReadBackUndone has the device lose a write that it has confirmed.
func TestReadBackUndone(t *testing.T) {
	system := makeCrashImage(t, "512k", crashKinds[2].args)
	size := int64(len(system))
	p := &platter{data: bytes.Clone(system)}
	g, changes := prepare(t, p, size, 1, 265, 1)
	only := changes[0].(*labels)
	only.dev = &forgetful{Device: only.dev, forget: 3}
	err := g.Commit(unchanged, changes)
	if err == nil || !strings.Contains(err.Error(), "reading back") {
		t.Errorf("error %v", err)
	}
	if !bytes.Equal(p.data, system) || p.log != nil {
		t.Error("the image is not as it was")
	}
}

type forgetful struct {
	ext4.Device
	forget int
}

func (f *forgetful) WriteAt(b []byte, off int64) (int, error) {
	if f.forget--; f.forget == 0 {
		return len(b), nil
	}
	return f.Device.WriteAt(b, off)
}
