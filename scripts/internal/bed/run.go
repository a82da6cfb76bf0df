package bed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Nobody is the unprivileged user that commands run as.
const Nobody = 65534

// Environment is this process's, without what would change our commands' output.
func Environment(extra ...string) []string {
	env := make([]string, 0, len(os.Environ())+len(extra))
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SOURCE_DATE_EPOCH=") && !strings.HasPrefix(kv, "VMSEAL_") {
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}

// Command prepares one of our commands.
func Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(Program(name), args...)
	cmd.Env = Environment()
	return cmd
}

// AsNobody prepares one of our commands, which keeps no group and no capability of root.
func AsNobody(name string, args ...string) *exec.Cmd {
	cmd := Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: Nobody, Gid: Nobody}}
	return cmd
}

// Peer prepares an outside tool.
func Peer(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = Environment("LC_ALL=C.UTF-8")
	return cmd
}

// Output runs a command that must succeed and gives what it prints.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, Clip(stderr.String()+stdout.String()))
	}
	return stdout.Bytes(), nil
}

// OutputTo runs a command that must succeed and writes what it prints to a file.
func OutputTo(path string, cmd *exec.Cmd) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = f, &stderr
	if err := errors.Join(cmd.Run(), f.Close()); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, Clip(stderr.String()))
	}
	return nil
}

// Clip leaves out the middle of what would be too long to read.
func Clip(s string) string {
	if len(s) > 6000 {
		return s[:1000] + "\n[...]\n" + s[len(s)-5000:]
	}
	return s
}
