package e2e

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// An input is a file that a command takes, and the command that takes it: @ stands for the file.
type input struct {
	command string
	valid   string // a file that is as it should be; a part of it is not
	empty   bool   // may be empty
	text    bool   // may be a line of text
	args    []string
}

// inputs lists every file that is no image and that a command takes, and the commands that take images.
func inputs(t *testing.T, dir string) []input {
	k := defaultKey(t)
	image, signed, manifest := smallImage(t, dir), filepath.Join(dir, "signed.img"), filepath.Join(dir, "manifest")
	out, tree := filepath.Join(dir, "none"), filepath.Join(dir, "tree")
	imagetool(t, "sign", "--key", k.private, image, "--out", signed, "--manifest", manifest).expect(t, 0)
	locked, trust, policy := filepath.Join(dir, "locked.pem"), filepath.Join(dir, "trust"), policyFile(t, dir)
	peer(t, "openssl", "pkcs8", "-topk8", "-in", k.private, "-out", locked, "-passout", "pass:secret")
	signer(t, "key", "trust", "--out", trust, k.cert).expect(t, 0)
	if err := errors.Join(os.Mkdir(tree, 0o755), os.Chown(locked, bed.Nobody, bed.Nobody)); err != nil {
		t.Fatal(err)
	}
	return []input{
		{command: "imagetool", valid: k.private, args: []string{"sign", "--key", "@", image, "--out", out}},
		{command: "imagetool", valid: k.cert, args: []string{"sign", "--key", k.private, "--cert", "@", image, "--out", out}},
		{command: "imagetool", args: []string{"sign", "--key", locked, "--passphrase-file", "@", image, "--out", out}},
		{command: "imagetool", empty: true, args: []string{"sign", "--key", k.private, "--rules", "@", image, "--dry-run"}},
		{command: "imagetool", valid: manifest, args: []string{"sign", "--key", k.private, "--reuse", "@", image, "--out", out}},
		{command: "imagetool", valid: signed, args: []string{"sign", "--key", k.private, "--reuse", "@", image, "--out", out}},
		{command: "imagetool", valid: image, args: []string{"sign", "--key", k.private, "@", "--out", out}},
		{command: "imagetool", valid: image, args: []string{"sign", "--key", k.private, "@", "--in-place"}},
		{command: "imagetool", valid: k.cert, args: []string{"verify", "--trust", "@", signed}},
		{command: "imagetool", valid: trust, args: []string{"verify", "--trust", "@", signed}},
		{command: "imagetool", valid: k.public, args: []string{"verify", "--trust", "@", signed}},
		{command: "imagetool", empty: true, args: []string{"verify", "--trust", trust, "--rules", "@", signed}},
		{command: "imagetool", valid: manifest, args: []string{"verify", "--trust", trust, "--manifest", "@", signed}},
		{command: "imagetool", valid: signed, args: []string{"verify", "--trust", trust, "@"}},
		{command: "imagetool", valid: trust, args: []string{"diff", "--trust", "@", signed, signed}},
		{command: "imagetool", valid: signed, args: []string{"diff", "@", signed}},
		{command: "imagetool", valid: signed, args: []string{"diff", signed, "@"}},
		{command: "imagetool", args: []string{"recover", "@"}},
		{command: "imagetool", args: []string{"ls", "@"}},
		{command: "imagetool", args: []string{"cat", "@", "/file"}},
		{command: "imagetool", valid: trust, args: []string{"cat", "--trust", "@", signed, "/file"}},
		{command: "imagetool", args: []string{"xattr", "@", "/file"}},
		{command: "imagetool", args: []string{"profile", "--key", k.private, "--policy", policy, "@", "--out", out}},
		{command: "imagetool", args: []string{"profile", "--key", k.private, "--policy", "@", image, "--out", out}},
		{command: "imagetool", args: []string{"profile", "--key", k.private, "--policy", policy, "--initrd", "@", image, "--out", out}},
		{command: "imagetool", args: []string{"sign", "--key", k.private, "--policy", "@", image, "--out", out, "--profile", out + ".profile"}},
		{command: "imagetool", args: []string{"initrd", "--policy", "@", "--out", out}},
		{command: "signer", valid: k.private, args: []string{"sign", "--key", "@", tree}},
		{command: "signer", valid: k.cert, args: []string{"sign", "--key", k.private, "--cert", "@", tree}},
		{command: "signer", args: []string{"sign", "--key", locked, "--passphrase-file", "@", tree}},
		{command: "signer", empty: true, args: []string{"sign", "--key", k.private, "--rules", "@", tree}},
		{command: "signer", valid: trust, args: []string{"verify", "--trust", "@", tree}},
		{command: "signer", empty: true, args: []string{"verify", "--trust", trust, "--rules", "@", tree}},
		{command: "signer", valid: k.private, args: []string{"blob", "--key", "@", k.cert}},
		{command: "signer", valid: k.cert, args: []string{"blob", "--key", k.private, "--cert", "@", k.cert}},
		{command: "signer", valid: k.private, args: []string{"key", "show", "@"}},
		{command: "signer", valid: k.cert, args: []string{"key", "show", "@"}},
		{command: "signer", valid: trust, args: []string{"key", "trust", "--out", out, "@"}},
		{command: "signer", text: true, args: []string{"key", "new", "--out", out, "--passphrase-file", "@"}},
		{command: "enforcer", args: []string{"check", "--profile", "@", "--trust", trust}},
		{command: "enforcer", valid: trust, args: []string{"check", "--profile", policy, "--trust", "@"}},
		{command: "enforcer", empty: true, args: []string{"check", "--profile", policy, "--trust", trust, "--deny", "@"}},
	}
}

// policyFile makes an IMA policy that protects.
func policyFile(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "policy")
	if err := os.WriteFile(path, []byte(imagetool(t, "initrd", "--print-policy").expect(t, 0).stdout), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// hostileFiles makes files that no command has a use for. The sparse one has more bytes than fit into memory.
func hostileFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	garbage := make([]byte, 100_000)
	newRand(11).Read(garbage)
	sparse := newImage(t, dir, "sparse", 64<<30)
	socket, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if err := errors.Join(
		os.WriteFile(at("empty"), nil, 0o644),
		os.WriteFile(at("garbage"), garbage, 0o644),
		os.WriteFile(at("text"), []byte("hello\n"), 0o644),
		os.WriteFile(at("pem"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o644),
		os.WriteFile(at("json"), []byte(`{"format":1,"tool":"`+strings.Repeat("[", 2<<20)), 0o644),
		os.WriteFile(at("long-line"), []byte(strings.Repeat("sign ", 1<<20)), 0o644),
		os.Mkdir(at("folder"), 0o755),
		unix.Mkfifo(at("pipe"), 0o644),
		os.Chmod(at("socket"), 0o777),
		os.Symlink("folder", at("link-to-folder")),
		os.Symlink("nothing", at("dangling")),
		os.Symlink("loop", at("loop")),
		os.WriteFile(at("locked"), nil, 0),
	); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"zero": "/dev/zero", "null": "/dev/null", "sparse": sparse, "long-name": at(strings.Repeat("n", 300)), "missing": at("missing")}
	for _, name := range []string{"empty", "garbage", "text", "pem", "json", "long-line", "folder", "pipe", "socket", "link-to-folder", "dangling", "loop", "locked"} {
		files[name] = at(name)
	}
	return files
}

// TestHostileInputs: a file that is not what it should be is refused by name and with a reason, soon, in little memory,
// and nothing is written.
func TestHostileInputs(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	dir := bed.Dir(t)
	all := inputs(t, dir)
	files := hostileFiles(t, bed.Dir(t))
	for _, kind := range sortedKeys(files) {
		t.Run(kind, func(t *testing.T) {
			feed(t, kind, func(in input) string { return files[kind] }, all)
		})
	}
	t.Run("half", func(t *testing.T) {
		halves := bed.Dir(t)
		feed(t, "half", func(in input) string {
			if in.valid == "" {
				return ""
			}
			b, err := os.ReadFile(in.valid)
			if err != nil {
				t.Fatal(err)
			}
			half := filepath.Join(halves, filepath.Base(in.valid))
			if err := os.WriteFile(half, b[:len(b)/2], 0o644); err != nil {
				t.Fatal(err)
			}
			return half
		}, all)
	})
	if _, err := os.Lstat(filepath.Join(dir, "none")); err == nil {
		t.Error("an output was written")
	}
}

// feed runs all commands with a file, several at a time: those that are given a pipe wait for a while.
func feed(t *testing.T, kind string, file func(input) string, all []input) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, in := range all {
		path := file(in)
		if path == "" || in.empty && (kind == "empty" || kind == "null") || in.text && kind == "text" {
			continue
		}
		args := append([]string{}, in.args...)
		for i, a := range args {
			if a == "@" {
				args[i] = path
			}
		}
		if kind != "pipe" {
			runHostile(t, in, path, args)
			continue
		}
		running.Go(func() { runHostile(t, in, path, args) })
	}
}

func runHostile(t *testing.T, in input, path string, args []string) {
	t.Helper()
	cmd := bed.AsNobody(in.command, args...)
	watchdog := time.AfterFunc(10*time.Minute, func() { cmd.Process.Kill() })
	r := finish(t, cmd)
	switch {
	case !watchdog.Stop():
		t.Errorf("does not end:\n%v", r)
		return
	case r.code != 1:
		t.Errorf("exit code %d, want 1:\n%v", r.code, r)
	case !strings.HasPrefix(r.stderr, "error: "):
		t.Errorf("no error:\n%v", r)
	}
	// A wrong passphrase is told of the key.
	named := strings.Contains(r.stderr, path+": ") || strings.Contains(r.stderr, path+" ")
	if !named && !strings.Contains(r.stderr, "passphrase") {
		t.Errorf("the file is not named:\n%v", r)
	}
	if used := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; used > maxResident {
		t.Errorf("%d KiB of memory, more than %d:\n%v", used, maxResident, r)
	}
}

// TestExposedKeys: a key that others can read is used, with a warning.
func TestExposedKeys(t *testing.T) {
	bed.Need(t, "openssl", "mke2fs", "losetup")
	dir, k := bed.Dir(t), defaultKey(t)
	image, private := smallImage(t, dir), filepath.Join(dir, "private.pem")
	b, err := os.ReadFile(k.private)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(private, b, 0o600), os.Chown(private, bed.Nobody, bed.Nobody), os.Symlink(private, private+".link")); err != nil {
		t.Fatal(err)
	}
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o610: false, 0o640: true, 0o604: true, 0o444: true, 0o666: true} {
		if err := os.Chmod(private, mode); err != nil {
			t.Fatal(err)
		}
		for _, r := range []result{
			imagetool(t, "sign", "--key", private, image, "--dry-run"),
			imagetool(t, "sign", "--key", private+".link", image, "--dry-run"),
			signer(t, "blob", "--key", private, k.cert),
			signer(t, "key", "show", private),
		} {
			r.expect(t, 0)
			if got := strings.Contains(r.stderr, "warning: "+private) && strings.Contains(r.stderr, "\nhint: chmod 600"); got != warned {
				t.Errorf("mode %o: warned: %v, want %v\n%v", mode, got, warned, r)
			}
		}
	}
}
