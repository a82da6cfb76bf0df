package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
	"github.com/vmseal/vmseal/imagetool/undo"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/keys/private"
)

// TestMain lets the scripts and tests run the command as a process of its own.
func TestMain(m *testing.M) {
	// Tools that administrators use are not in the path of everybody.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	testscript.Main(m, map[string]func(){"imagetool": main})
}

// tool skips the test where an outside tool is missing, and fails it where every
// tool has to be there.
func tool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
				t.Fatalf("%s is not installed", name)
			}
			t.Skipf("%s is not installed", name)
		}
	}
}

func TestScripts(t *testing.T) {
	tool(t, "mke2fs", "e2fsck", "debugfs", "sfdisk", "mkswap", "mkfs.fat", "qemu-img", "qemu-storage-daemon", "evmctl", "dd", "gzip", "xz", "zstd")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cutshort": cutShort,
			"exits":    exits,
			"fill":     fill,
			"mkkey":    mkkey,
			"mkfiles":  mkfiles,
			"mkkernel": mkkernel,
			"opens":    opens,
		},
	})
}

// exits CODE COMMAND... runs a command that must end with this code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cutshort IMAGE leaves an image as a change in place that was cut short does: an
// undo log of three blocks, of which the first two are changed.
func cutShort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: cutshort image")
	}
	path := ts.MkAbs(args[0])
	image, err := os.ReadFile(path)
	ts.Check(err)
	blocks := []undo.Block{}
	for i, offset := range []int64{1024, 64 << 10, 128 << 10} {
		blocks = append(blocks, undo.Block{Offset: offset, Versions: [][]byte{bytes.Repeat([]byte{byte('1' + i)}, 1024)}})
	}
	var log bytes.Buffer
	id := undo.Image{Size: int64(len(image)), Name: args[0]}
	ts.Check(undo.Write(&log, id, bytes.NewReader(image), func(yield func(undo.Block, error) bool) {
		for _, b := range blocks {
			if !yield(b, nil) {
				return
			}
		}
	}))
	for _, b := range blocks[:2] {
		copy(image[b.Offset:], b.Versions[0])
	}
	ts.Check(errors.Join(os.WriteFile(path+".vmseal-undo", log.Bytes(), 0o600), os.WriteFile(path, image, 0o644)))
}

// fill IMAGE N writes a file into an image with 1 KiB blocks that leaves N free.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fill image blocks")
	}
	leave, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(ts.Exec("dumpe2fs", "-h", args[0]))
	m := regexp.MustCompile(`Free blocks: +(\d+)`).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("dumpe2fs tells no free blocks")
	}
	free, err := strconv.Atoi(m[1])
	ts.Check(err)
	filler := bytes.Repeat([]byte("x"), (free-leave)<<10)
	ts.Check(os.WriteFile(ts.MkAbs("filler"), filler, 0o644))
	ts.Check(ts.Exec("debugfs", "-w", "-R", "write filler /filler", args[0]))
}

// mkkey DIR makes a key.
func mkkey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mkkey dir")
	}
	_, err := private.Generate(ts.MkAbs(args[0]), private.GenerateOptions{Bits: 2048})
	ts.Check(err)
}

// mkkernel FILE RELEASE makes a kernel: vmlinux, if the file is called so, else
// vmlinuz. Of each function that is named behind them it has only a clone, and what is
// named with a minus sign it lacks.
func mkkernel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mkkernel file release [function | -symbol]...")
	}
	k := fakekernel.New(args[1])
	for _, name := range args[2:] {
		if missing, ok := strings.CutPrefix(name, "-"); ok {
			k.Rename(missing, "")
		} else {
			k.Rename(name, name+".isra.0")
		}
	}
	write := k.BzImage
	if filepath.Base(args[0]) == "vmlinux" {
		write = k.ELF
	}
	b, err := write()
	ts.Check(err)
	path := ts.MkAbs(args[0])
	ts.Check(errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)))
}

// opens PROFILE TRUST RELEASE reads a profile as the enforcer does, and checks that
// it is of this release.
func opens(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: opens profile trust release")
	}
	trust, err := certs.ParseTrust([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	p, err := profile.Open([]byte(ts.ReadFile(args[0])), func(s digsig.Signature, digest []byte) error {
		_, err := trust.Store.Verify(s, digest)
		return err
	})
	switch {
	case neg && err == nil:
		ts.Fatalf("%s was opened", args[0])
	case !neg:
		ts.Check(err)
		if p.Release != args[2] {
			ts.Fatalf("release %s, want %s", p.Release, args[2])
		}
	}
}

// mkfiles DIR makes a folder with what an image of a guest has.
func mkfiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mkfiles dir")
	}
	ts.Check(makeFiles(ts.MkAbs(args[0])))
}

func makeFiles(dir string) error {
	files := map[string]string{
		"usr/lib/os-release":          "NAME=Test\nPRETTY_NAME=\"Test OS 1\"\n",
		"boot/vmlinuz-6.1":            "kernel",
		"usr/lib/modules/6.1/vmlinuz": "kernel",
		"usr/bin/tool":                "#!/bin/sh\necho tool\n",
		"usr/bin/twin":                "#!/bin/sh\necho tool\n",
		"usr/bin/empty":               "",
		"var/log/messages":            "booted\n",
		"var/cache/junk":              "junk",
		"srv/\x1b[31mred":             "a name that steers terminals",
		"srv/latin-1 \xe9":            "a name that is not UTF-8",
		"srv/100%":                    "a name with a percent sign",
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.Mkdir(filepath.Join(dir, "etc"), 0o755),
		os.Symlink("../usr/lib/os-release", filepath.Join(dir, "etc/os-release")),
		os.Symlink("loop", filepath.Join(dir, "etc/loop")),
		os.Link(filepath.Join(dir, "usr/bin/tool"), filepath.Join(dir, "usr/bin/hardlink")),
	)
}
