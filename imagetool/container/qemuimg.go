package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const imgName = "qemu-img"

// sourceOf is a chain of files as qemu-img takes it for the name of an image. Their
// numbers are those behind the files that are there already.
func sourceOf(chain []node, files []*os.File) (string, []*os.File) {
	var source any
	for i := len(chain) - 1; i >= 0; i-- {
		n := chain[i]
		files = append(files, n.file)
		options := map[string]any{
			"driver": string(n.format),
			"file": map[string]any{
				"driver": protocol(n.file), "filename": fmt.Sprintf("/proc/self/fd/%d", 2+len(files)), "locking": "off",
			},
		}
		if n.format == QCOW2 || n.format == VMDK {
			options["backing"] = source
		}
		source = options
	}
	text, err := json.Marshal(source)
	if err != nil {
		panic(err) // strings
	}
	return "json:" + string(text), files
}

// Exit codes of 'qemu-img check'.
const (
	checkErrors      = 2  // the image is corrupt
	checkLeaks       = 3  // there are clusters that nobody uses, which does no harm
	checkUnsupported = 63 // by the format
)

// checkTime is far above what it takes to read the tables of a file of this size. Tests are
// less patient.
var checkTime = func(size int64) time.Duration {
	return 5*time.Minute + time.Duration(size>>24)*time.Second
}

// Check has qemu-img look through the tables of the container: in one that is damaged, to
// write to a block may change another one. A damaged one is refused.
func (c *Container) Check(ctx context.Context) error { return c.CheckCopy(ctx, c.file.Opened()) }

// CheckCopy is Check for a copy of the container.
func (c *Container) CheckCopy(ctx context.Context, file *os.File) error {
	source, files := sourceOf([]node{{c.Format, file}}, nil)
	limited, cancel := context.WithTimeout(ctx, checkTime(c.file.Size()))
	defer cancel()
	err := qemuImg(limited, files, "check", "-q", source)
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		// Needed: tables may refer to each other a million times, for hours of work.
		return refuse("", "'qemu-img check' has not come to its end in %v", checkTime(c.file.Size()))
	case !ok:
		return err
	case exit.ExitCode() == checkLeaks, exit.ExitCode() == checkUnsupported:
		return nil
	case exit.ExitCode() == checkErrors:
		// Needed: what is written to one block may be read from another.
		return refuse(hintCheck, "'qemu-img check' finds it damaged")
	}
	return err
}

// qemuImg runs qemu-img with open files, from number 3 on.
func qemuImg(ctx context.Context, files []*os.File, args ...string) error {
	program, err := exec.LookPath(imgName)
	if err != nil {
		return &MissingError{imgName}
	}
	var words lastWords
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &words, &words, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	run := &process{cmd: cmd}
	if err := run.start(); err != nil {
		return fmt.Errorf("starting %s: %w", imgName, err)
	}
	<-run.ended
	if err := ctx.Err(); err != nil {
		return err
	}
	if run.err != nil {
		return fmt.Errorf("%s %s: %w: %s", imgName, args[0], run.err, words.String())
	}
	return nil
}
