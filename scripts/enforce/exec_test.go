package enforce

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// tools are the outside programs of which every test here needs most.
var tools = []string{"qemu-system-x86_64", "mmdebstrap", "mke2fs", "tune2fs", "e2fsck", "tar", "mount", "evmctl", "xz"}

// need skips the test where this machine cannot run it: no root, or an outside tool is missing.
func need(t *testing.T) {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("%s is not installed", tool)
	}
}

// workDir is a new folder that the unprivileged user owns, removed when the test ends.
func workDir(t *testing.T) string {
	t.Helper()
	dir, err := newDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newDir is workDir for what outlives one test.
func newDir() (string, error) {
	dir, err := os.MkdirTemp(base, "t-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody))
}

// environment is this process's, without what would change our commands' output.
func environment(extra ...string) []string {
	env := make([]string, 0, len(os.Environ())+len(extra))
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SOURCE_DATE_EPOCH=") && !strings.HasPrefix(kv, "VMSEAL_") {
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}

// ours prepares one of our commands, which keeps no group and no capability of root.
func ours(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binDir, name), args...)
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// peer prepares an outside tool.
func peer(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(environment(), "LC_ALL=C.UTF-8")
	return cmd
}

// output runs a command that must succeed and gives what it prints.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, clip(stderr.String()+stdout.String()))
	}
	return stdout.Bytes(), nil
}

// outputTo runs a command that must succeed and writes what it prints to a file.
func outputTo(path string, cmd *exec.Cmd) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = f, &stderr
	if err := errors.Join(cmd.Run(), f.Close()); err != nil {
		return errors.New(strings.Join(cmd.Args, " ") + ": " + err.Error() + "\n" + clip(stderr.String()))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 6000 {
		return s[:1000] + "\n[...]\n" + s[len(s)-5000:]
	}
	return s
}

func itoa(n int) string { return strconv.Itoa(n) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
