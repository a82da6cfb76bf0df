package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	maxCPU    = 5 * time.Second
	hung      = 5 * time.Minute // then it is killed
	maxMemory = 256 << 20
)

// A child is a program that has ended.
type child struct {
	usage
	args   []string
	stdout string
	stderr string
	wall   time.Duration
	killed bool // because it took too long
}

// run runs a program to its end, or until the time is up.
func run(ctx context.Context, limit time.Duration, args ...string) (*child, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	report, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	cmd := exec.CommandContext(ctx, self, append([]string{helperArgument}, args...)...)
	stdout, stderr := &head{}, &head{}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = stdout, stderr, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	start := time.Now()
	err = errors.Join(cmd.Start(), w.Close())
	if err != nil {
		return nil, err
	}
	err = cmd.Wait()
	c := &child{args: args, stdout: stdout.String(), stderr: stderr.String(), wall: time.Since(start)}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.killed, c.Code = true, -1
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("running %s: %w\n%s", args[0], err, c.stderr)
	}
	return c, json.NewDecoder(report).Decode(&c.usage)
}

// A head keeps the beginning of what is written to it.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	const most = 8 << 20
	h.Buffer.Write(p[:min(len(p), max(0, most-h.Len()))])
	return len(p), nil
}

// faults are what no run of imagetool may do, whatever the image.
func (c *child) faults() (out []string) {
	add := func(cond bool, what string) {
		if cond {
			out = append(out, c.name()+": "+what)
		}
	}
	crash := strings.Contains(c.stderr, "panic:") || strings.Contains(c.stderr, "fatal error:") || strings.Contains(c.stderr, "goroutine ")
	add(crash, "crash")
	add(c.killed, "too long")
	add(c.CPU > maxCPU, "too much CPU")
	add(c.RSS > maxMemory, "too much memory")
	add(!c.killed && !crash && c.Code != 0 && c.Code != 1 && c.Code != 3, fmt.Sprintf("exit code %d", c.Code))
	add(c.Code == 1 && !strings.Contains(c.stderr, "error: "), "failed without a message")
	return out
}

// name is the command of imagetool, or the program.
func (c *child) name() string {
	if len(c.args) > 1 && !strings.HasPrefix(c.args[1], "-") {
		return c.args[1]
	}
	return filepath.Base(c.args[0])
}
