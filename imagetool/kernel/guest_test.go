package kernel

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A running is what a kernel tells about itself while it runs.
type running struct {
	files   map[string]string
	symbols map[string][]runningSymbol

	// The code of functions, by their place in the list: before and after the kernel changed it.
	before, after map[int][]byte
}

type runningSymbol struct {
	addr  uint64
	bytes []byte
}

// boot starts a kernel in QEMU, with nothing else than a program that tells about the
// symbols that its initrd lists. The kernel lies at random addresses, and starts as if there were one CPU. That CPU has no
// CMPXCHG16B: with QEMU 7.2 an interrupt that comes right behind one finds garbage in EFLAGS, now and then.
func boot(t *testing.T, vmlinuz, initrd string) running {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,la57=off,cx16=off", "-m", "512M", "-smp", "2", "-nodefaults", "-display", "none",
		"-no-reboot", "-serial", "stdio", "-kernel", vmlinuz, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 maxcpus=1 rdinit=/init")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, &stderr, out)
	}
	r := running{map[string]string{}, map[string][]runningSymbol{}, map[int][]byte{}, map[int][]byte{}}
	ended := false
	for line := range strings.Lines(string(out)) {
		switch field := strings.Fields(line); {
		case strings.HasPrefix(line, "guest file ") && len(field) == 4:
			r.files[field[2]] = string(unhex(t, field[3]))
		case strings.HasPrefix(line, "guest symbol ") && len(field) >= 4:
			addr, err := strconv.ParseUint(field[3], 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			var b []byte
			if len(field) > 4 {
				b = unhex(t, field[4])
			}
			r.symbols[field[2]] = append(r.symbols[field[2]], runningSymbol{addr, b})
		case strings.HasPrefix(line, "guest code ") && len(field) == 5:
			i, err := strconv.Atoi(field[3])
			if err != nil {
				t.Fatal(err)
			}
			map[string]map[int][]byte{"before": r.before, "after": r.after}[field[2]][i] = unhex(t, field[4])
		case strings.HasPrefix(line, "guest end"):
			ended = true
		}
	}
	if !ended {
		t.Fatalf("the guest did not come to its end:\n%s", out)
	}
	return r
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeInitrd packs the program as /init.
func makeInitrd(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program, initrd := filepath.Join(dir, "init"), filepath.Join(dir, "initrd")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel has no other output for its first program than /dev/console.
	archive := pack(packed{"dev", 0o040755, nil}, packed{"dev/console", 0o020600, nil}, packed{"init", 0o100755, code})
	if err := os.WriteFile(initrd, archive, 0o644); err != nil {
		t.Fatal(err)
	}
	return initrd
}

// withFile gives an initrd that has one more file.
func withFile(t *testing.T, initrd, name string, data []byte) string {
	t.Helper()
	archive, err := os.ReadFile(initrd)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(path, append(archive, pack(packed{name, 0o100644, data})...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// packed is a file in an archive.
type packed struct {
	name string
	mode int
	data []byte
}

func pack(files ...packed) []byte {
	var b bytes.Buffer
	for i, f := range append(files, packed{name: "TRAILER!!!"}) {
		// The "new ASCII" form: magic, inode, mode, owner and group, links, time, size, device, device it stands for, length of the name.
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", i+1, f.mode, 0, 0, 1, 0, len(f.data), 0, 0, 5, 1, len(f.name)+1, 0, f.name)
		b.Write(make([]byte, -b.Len()&3))
		b.Write(f.data)
		b.Write(make([]byte, -b.Len()&3))
	}
	return b.Bytes()
}
