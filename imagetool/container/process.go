package container

import (
	"cmp"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxMemory is how much address space a program of QEMU's gets. It needs some 100 MiB; a
// hostile image could make it want more than the machine has.
const maxMemory = 4 << 30

// A process is a program of QEMU's that runs.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed at its end
	err   error         // how it ended
}

// start starts the process from a thread that lives as long as the process does, since it
// is that thread's end which Pdeathsig is about.
func (p *process) start() error {
	p.ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if err != nil {
			started <- err
			return
		}
		err = limitMemory(p.cmd.Process.Pid)
		if errors.Is(err, unix.ESRCH) {
			err = nil // it has ended already, and says why
		}
		if err != nil {
			p.cmd.Process.Kill()
		}
		started <- err
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return <-started
}

// limitMemory lowers what the process inherits, where that is more.
func limitMemory(pid int) error {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, nil, &limit); err != nil {
		return err
	}
	limit.Cur, limit.Max = min(limit.Cur, maxMemory), min(limit.Max, maxMemory)
	return unix.Prlimit(pid, unix.RLIMIT_AS, &limit, nil)
}

// lastWords keep the end of what a process prints.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (w *lastWords) Write(p []byte) (int, error) {
	const most = 8 << 10
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if len(w.text) > most {
		w.text = append([]byte(nil), w.text[len(w.text)-most:]...)
	}
	return len(p), nil
}

// String is the last line, without the name of the program and the argument that it is
// about.
func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(w.text), "?")), "\n")
	last := strings.TrimPrefix(lines[len(lines)-1], daemonName+": ")
	if strings.HasPrefix(last, "--blockdev {") {
		if _, reason, ok := strings.Cut(last, "}: "); ok {
			last = cmp.Or(reason, last)
		}
	}
	return last
}
