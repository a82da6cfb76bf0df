package hostile

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Linux counts what a process had before it executed a program as that
// program's memory, and Go starts a program out of its own memory. So a small
// helper, this program again, starts it and says what it took.

const helperArgument = "--start-and-measure"

// usage is what the helper reports.
type usage struct {
	Code int // -1 if a signal ended it
	CPU  time.Duration
	RSS  int64 // bytes, at most
}

// help runs a program, with a bound on its memory that keeps the machine alive,
// far above what it may really use, and writes the usage to descriptor 3.
func help(args []string) error {
	const bound = 4 << 30
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: bound, Max: bound}); err != nil {
		return err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	s := cmd.ProcessState
	return json.NewEncoder(os.NewFile(3, "usage")).Encode(usage{
		Code: s.ExitCode(), CPU: s.UserTime() + s.SystemTime(), RSS: s.SysUsage().(*syscall.Rusage).Maxrss << 10,
	})
}
