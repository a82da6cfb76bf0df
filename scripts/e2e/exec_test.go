package e2e

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// result is what a run of one of our commands gave.
type result struct {
	line           string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return "$ " + r.line + "\nexit " + itoa(r.code) + "\nstdout: " + bed.Clip(r.stdout) + "\nstderr: " + bed.Clip(r.stderr)
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
	return finish(t, bed.AsNobody("imagetool", args...))
}

// signer runs signer as root: security.ima of a live tree is root's to write.
func signer(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, bed.Command("signer", args...))
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
	cmd := bed.Peer(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := bed.Output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// try runs an outside tool that may fail, and returns all that it prints.
func try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
