package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// need skips the test where this machine cannot run it: no root, or an outside tool is missing.
func need(t *testing.T, tools ...string) {
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
	dir, err := os.MkdirTemp(base, "t-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// result is what a run of one of our commands gave.
type result struct {
	line           string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return "$ " + r.line + "\nexit " + itoa(r.code) + "\nstdout: " + clip(r.stdout) + "\nstderr: " + clip(r.stderr)
}

func clip(s string) string {
	if len(s) > 2000 {
		return s[:1000] + "\n[...]\n" + s[len(s)-1000:]
	}
	return s
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

// ours prepares one of our commands; an unprivileged one keeps no group and no capability of root.
func ours(name string, unprivileged bool, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binDir, name), args...)
	cmd.Env = environment()
	if unprivileged {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{strings.Join(cmd.Args, " "), stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// imagetool runs imagetool as the unprivileged user.
func imagetool(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, ours("imagetool", true, args...))
}

// signer runs signer as root: security.ima of a live tree is root's to write.
func signer(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, ours("signer", false, args...))
}

// expect ends the test unless the command ended with the exit code.
func (r result) expect(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("want exit code %d:\n%v", code, r)
	}
	return r
}

// peer runs an outside tool, which must succeed, and returns its standard output.
func peer(t *testing.T, name string, args ...string) string {
	t.Helper()
	return peerInput(t, "", name, args...)
}

func peerInput(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(environment(), "LC_ALL=C.UTF-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, clip(stderr.String()+stdout.String()))
	}
	return stdout.String()
}

// try runs an outside tool that may fail, and returns all that it prints.
func try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
