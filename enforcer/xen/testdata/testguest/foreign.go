//go:build amd64

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// programs test what must not change in a guarded guest: exceptions that are not the enforcer's,
// and registers. Each returns a text that is the same each time on the same machine.
var programs = []struct {
	name string
	run  func() (string, error)
}{
	{"breakpoint", breakpoint},
	{"watch", watch},
	{"counter", counter},
	{"probes", probes},
	{"vectors", vectorsKept},
	{"tables", tables},
	{"hotplug", hotplug},
}

// foreign runs each program as a process of its own, again and again, and prints the results.
func foreign() {
	for round := 0; ; round++ {
		for _, p := range programs {
			text, err := allowed("/init", p.name)
			if err != nil {
				text = err.Error() + ": " + text
			}
			say("foreign %d %s: %s", round, p.name, strings.Join(strings.Fields(text), " "))
		}
		say("foreign %d end", round)
	}
}

// allowed executes a program until it is not denied.
func allowed(args ...string) (string, error) {
	for {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if !errors.Is(err, syscall.EACCES) {
			return string(out), err
		}
	}
}

// program runs in a process that was executed with arguments.
func program(args []string) {
	if args[0] == "traced" {
		traced()
		return
	}
	for _, p := range programs {
		if p.name != args[0] {
			continue
		}
		text, err := p.run()
		if err != nil {
			text += " failed: " + err.Error()
		}
		fmt.Println(text)
	}
}

// watched is the buffer that the traced process reads into and then writes to.
var watched [8]byte

// traced executes a breakpoint with the address of the watched bytes in a register.
func traced() {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		os.Exit(3)
	}
	int3(&watched)
	for range 20 {
		if _, err := zero.Read(watched[:]); err != nil {
			os.Exit(4)
		}
	}
	for i := range 20 {
		poke(&watched, byte(i))
	}
}

// tracee starts the traced process and lets it run to its breakpoint.
func tracee() (pid int, regs syscall.PtraceRegs, err error) {
	runtime.LockOSThread()
	for {
		c := exec.Command("/init", "traced")
		c.Env = []string{"GODEBUG=asyncpreemptoff=1"} // no other signals
		c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
		err = c.Start()
		if err == nil {
			pid = c.Process.Pid
			break
		}
		if !errors.Is(err, syscall.EACCES) {
			return 0, regs, err
		}
	}
	if sig, err := stop(pid); sig != syscall.SIGTRAP {
		return 0, regs, fmt.Errorf("after its start: %v, %v", sig, err)
	}
	if sig, err := goOn(pid); sig != syscall.SIGTRAP {
		return 0, regs, fmt.Errorf("at its breakpoint: %v, %v", sig, err)
	}
	return pid, regs, syscall.PtraceGetRegs(pid, &regs)
}

var errGone = errors.New("the traced process has ended")

// stop waits until a traced process stops, or returns how it ended.
func stop(pid int) (syscall.Signal, error) {
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return 0, err
	}
	if !status.Stopped() {
		return 0, fmt.Errorf("%w: exit code %d, signal %v", errGone, status.ExitStatus(), status.Signal())
	}
	return status.StopSignal(), nil
}

// goOn lets it run until it stops.
func goOn(pid int) (syscall.Signal, error) {
	if err := syscall.PtraceCont(pid, 0); err != nil {
		return 0, err
	}
	return stop(pid)
}

// breakpoint tests a breakpoint in user space: the tracer is notified, and single-steps from there.
func breakpoint() (string, error) {
	pid, regs, err := tracee()
	if err != nil {
		return "", err
	}
	code := make([]byte, 1)
	if _, err := syscall.PtracePeekText(pid, uintptr(regs.Rip-1), code); err != nil {
		return "", err
	}
	steps := 0
	for steps < 200 {
		if err := syscall.PtraceSingleStep(pid); err != nil {
			return "", err
		}
		if sig, err := stop(pid); sig != syscall.SIGTRAP {
			return "", fmt.Errorf("%d steps: %v, %w", steps, sig, err)
		}
		steps++
	}
	_, err = goOn(pid)
	return fmt.Sprintf("behind %x, %d steps, %v", code, steps, err), nil
}

// Layout of struct user (arch/x86/include/asm/user_64.h), and the bits of DR7 for a watchpoint in
// DR0 (Intel SDM volume 3, 17.2.4).
const (
	userDebugRegs = 848
	dr7Write      = 1<<0 | 1<<16 | 3<<18 // local, of writes, 4 bytes
)

func pokeUser(pid, register int, v uint64) error {
	_, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_POKEUSR, uintptr(pid), uintptr(userDebugRegs+8*register), uintptr(v), 0, 0)
	if e != 0 {
		return fmt.Errorf("debug register %d: %w", register, e)
	}
	return nil
}

func peekUser(pid, register int) (v uint64, err error) {
	_, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_PEEKUSR, uintptr(pid), uintptr(userDebugRegs+8*register), uintptr(unsafe.Pointer(&v)), 0, 0)
	if e != 0 {
		return 0, e
	}
	return v, nil
}

// isPV reports whether this is a PV domain.
func isPV() (bool, error) {
	kind, err := os.ReadFile("/sys/hypervisor/guest_type")
	return strings.TrimSpace(string(kind)) == "PV", err
}

// noWatchpoints is the result where watchpoints cannot be tested: with nested paging, a guest of
// Xen inside QEMU hangs at its first watchpoint, guarded or not.
const noWatchpoints = "not with nested paging on QEMU"

// watch sets a debug register to an address that the kernel and then the process write to, and
// counts the exceptions that the tracer gets.
func watch() (string, error) {
	if pv, err := isPV(); !pv || err != nil {
		return noWatchpoints, err
	}
	pid, regs, err := tracee()
	if err != nil {
		return "", err
	}
	if err := errors.Join(pokeUser(pid, 0, regs.Rax), pokeUser(pid, 7, dr7Write)); err != nil {
		return "", err
	}
	seen := map[uint64]int{}
	for {
		sig, err := goOn(pid)
		if errors.Is(err, errGone) {
			return fmt.Sprintf("%v, %v", seen, err), nil
		}
		if sig != syscall.SIGTRAP || err != nil {
			return "", fmt.Errorf("%v, %w", sig, err)
		}
		dr6, err := peekUser(pid, 6)
		if err == nil {
			err = pokeUser(pid, 6, 0)
		}
		if err != nil {
			return "", err
		}
		seen[dr6&0xf]++
	}
}

// counter lets the kernel count its own writes to a buffer. Each is a debug exception in the
// kernel.
func counter() (string, error) {
	if pv, err := isPV(); !pv || err != nil {
		return noWatchpoints, err
	}
	runtime.LockOSThread()
	buffer := make([]byte, 8)
	attr := unix.PerfEventAttr{
		Type:    unix.PERF_TYPE_BREAKPOINT,
		Size:    uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Bp_type: 2, // HW_BREAKPOINT_W
		Ext1:    uint64(uintptr(unsafe.Pointer(&buffer[0]))),
		Ext2:    8, // HW_BREAKPOINT_LEN_8
	}
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	zero, err := os.Open("/dev/zero")
	if err != nil {
		return "", err
	}
	defer zero.Close()
	for range 50 {
		if _, err := zero.Read(buffer); err != nil {
			return "", err
		}
	}
	var count [8]byte
	if _, err := unix.Read(fd, count[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d writes", count[0]), nil
}

const tracing = "/sys/kernel/tracing/"

// probes lets the kernel set breakpoints in its own code: inside a function, at the entry of
// another one (where it rewrites the nop), and in the function after the one with the tests' trap.
func probes() (string, error) {
	const functions = "p:inside __x64_sys_getppid+5\np:entry __x64_sys_getpgid\np:behind ima_file_check+5\n"
	if err := os.WriteFile(tracing+"kprobe_events", []byte(functions), 0); err != nil {
		return "", err
	}
	const enable = tracing + "events/kprobes/enable"
	if err := os.WriteFile(enable, []byte("1"), 0); err != nil {
		return "", err
	}
	for range 50 {
		syscall.Getppid()
		_, _ = syscall.Getpgid(0)
	}
	if err := os.WriteFile(enable, []byte("0"), 0); err != nil {
		return "", err
	}
	profile, err := os.ReadFile(tracing + "kprobe_profile")
	if err != nil {
		return "", err
	}
	var text []string
	for line := range strings.Lines(string(profile)) {
		var name string
		var hits, missed int
		if _, err := fmt.Sscan(line, &name, &hits, &missed); err != nil {
			return line, err
		}
		if name == "behind" { // other processes open files, too
			text = append(text, fmt.Sprintf("behind %t", hits > 0))
			continue
		}
		text = append(text, fmt.Sprintf("%s %d", name, hits))
	}
	return strings.Join(text, ", "), os.WriteFile(tracing+"kprobe_events", nil, 0)
}

// vectors are the registers that Xen keeps in the extended state.
type vectors struct {
	ymm   [16][32]byte
	x87   int64
	mxcsr uint32
	fcw   uint32
}

// Rounding modes and exception masks that nothing else uses.
const (
	mxcsr = 0x7f80
	fcw   = 0x0f7f
)

// vectorsKept executes a file with values in the registers, while another thread holds other
// values. The execution is either denied, or let through and fails because the file is not a
// program.
func vectorsKept() (string, error) {
	if !cpu.X86.HasAVX {
		return "this processor has no AVX", nil
	}
	const path = "/text"
	if err := os.WriteFile(path, []byte("no program"), 0o700); err != nil {
		return "", err
	}
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return "", err
	}
	end, other := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for n := byte(0); err == nil; n++ {
			select {
			case <-end:
				other <- nil
				return
			default:
			}
			in, out := pattern(n), vectors{}
			holdVectors(&in, &out, 1e6)
			err = compare(&in, &out)
		}
		other <- err
	}()
	arguments := []*byte{name, nil}
	for n := range 20 {
		in, out := pattern(byte(128+n)), vectors{}
		errno := execVectors(name, &arguments[0], &arguments[1], &in, &out)
		if e := syscall.Errno(-errno); e != syscall.ENOEXEC && e != syscall.EACCES {
			return "", e
		}
		if err := compare(&in, &out); err != nil {
			return "", err
		}
	}
	close(end)
	return "kept", <-other
}

func pattern(seed byte) (v vectors) {
	for i := range v.ymm {
		copy(v.ymm[i][:], bytes.Repeat([]byte{seed + byte(i), seed ^ byte(i)}, 16))
	}
	v.x87, v.mxcsr, v.fcw = int64(seed)*1e15+1, mxcsr, fcw
	return v
}

func compare(in, out *vectors) error {
	if *in != *out {
		return fmt.Errorf("registers were changed: %x became %x", *in, *out)
	}
	return nil
}

// tables reads the registers of the descriptor tables, as programs may, on each processor.
func tables() (string, error) {
	if pv, err := isPV(); pv || err != nil {
		return "they are Xen's", err
	}
	var text []string
	for processor := range runtime.NumCPU() {
		if err := pin(processor); err != nil {
			return "", err
		}
		var first tableRegisters
		storeTables(&first)
		for n := range 50 {
			var next tableRegisters
			if storeTables(&next); next != first {
				return "", fmt.Errorf("round %d: %x became %x", n, first, next)
			}
		}
		text = append(text, fmt.Sprintf("%d: %x", processor, first))
	}
	return strings.Join(text, ", "), nil
}

// tableRegisters is what SGDT and SIDT store (10 bytes each), then SLDT and STR to memory (2 bytes
// each), then SLDT and STR to registers.
type tableRegisters [40]byte

// hotplug unplugs the second processor and plugs it in again.
func hotplug() (string, error) {
	if pv, err := isPV(); !pv || err != nil {
		return "tried in PV guests only", err
	}
	const online = "/sys/devices/system/cpu/cpu1/online"
	if _, err := os.Stat(online); err != nil {
		return "one processor", nil
	}
	for _, v := range []string{"0", "1"} {
		if err := os.WriteFile(online, []byte(v), 0); err != nil {
			return v, err
		}
	}
	now, err := os.ReadFile("/sys/devices/system/cpu/online")
	return string(now), err
}
