//go:build amd64

// Command testguest is the first process of a domain in which the package's tests set traps. It
// executes itself again and again, and prints the results. Words on the kernel's command line ask
// for more.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Words on the kernel's command line.
const (
	wordSMP     = "smp"     // a worker on each processor, not only on the first
	wordForeign = "foreign" // also the programs of foreign.go
	wordPlugged = "plugged" // also a worker on processor 1, once it is plugged in
)

// Only the first thread of a process is traced.
func init() { runtime.LockOSThread() }

func main() {
	if os.Getpid() != 1 {
		if len(os.Args) > 1 {
			program(os.Args[1:])
		}
		return
	}
	for _, m := range [][2]string{{"proc", "/proc"}, {"devtmpfs", "/dev"}, {"sysfs", "/sys"}, {"tracefs", "/sys/kernel/tracing"}} {
		_ = os.Mkdir(m[1], 0o755) // it may exist
		if err := syscall.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			say("mounting %s: %v", m[1], err)
		}
	}
	line, _ := os.ReadFile("/proc/cmdline")
	words := strings.Fields(string(line))
	workers := 1
	if slices.Contains(words, wordSMP) {
		workers = runtime.NumCPU()
	}
	say("ready, %d processors", runtime.NumCPU())
	for w := range workers {
		go work(w)
	}
	if slices.Contains(words, wordForeign) {
		go foreign()
	}
	if slices.Contains(words, wordPlugged) {
		go func() {
			for os.WriteFile("/sys/devices/system/cpu/cpu1/online", []byte("1"), 0) != nil {
				rest() // there is no notification
			}
			work(1)
		}()
	}
	select {}
}

var console sync.Mutex

// say writes one line to the console.
func say(format string, args ...any) {
	console.Lock()
	defer console.Unlock()
	fmt.Printf("GUEST "+format+"\n", args...)
}

// pin keeps this goroutine, and the processes that it starts, on one processor.
func pin(processor int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(processor)
	return unix.SchedSetaffinity(0, &set)
}

// work executes a program again and again on one processor.
func work(processor int) {
	if err := pin(processor); err != nil {
		say("cannot pin processor %d: %v", processor, err)
	}
	for n := 0; ; n++ {
		err := exec.Command("/init").Run()
		switch {
		case err == nil:
			say("%d.%d ran", processor, n)
		case errors.Is(err, syscall.EACCES):
			say("%d.%d denied", processor, n)
		default:
			say("%d.%d %v", processor, n, err)
		}
		rest()
	}
}

// rest sleeps without Go's timers: those may belong to a processor that waits for the enforcer.
func rest() { _ = unix.Nanosleep(&unix.Timespec{Nsec: 20e6}, nil) }
