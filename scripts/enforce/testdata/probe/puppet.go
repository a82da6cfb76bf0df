//go:build amd64

package main

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A step is one system call of puppet's. puppet_amd64.s knows this form.
type step struct {
	number  uint64
	args    [4]uint64
	retry   uint64 // not 0: every tenth of a second, until it succeeds
	line    uint64 // what the host is told if it fails, as guestagent would
	lineLen uint64
}

const (
	stepSize = 64 // of a step
	codeSize = 256
	pageSize = 1 << 16 // for all of it
)

func puppetCode() *[codeSize]byte

// A script is a page of memory: puppet's code, its steps, and what they point to.
type script struct {
	at    uint64 // where it will lie
	steps []step
	data  []byte // behind maxSteps
}

const maxSteps = 64

// put adds data, and tells where it will lie.
func (s *script) put(b []byte) uint64 {
	for len(s.data)%8 != 0 {
		s.data = append(s.data, 0)
	}
	s.data = append(s.data, b...)
	return s.at + codeSize + maxSteps*stepSize + uint64(len(s.data)-len(b))
}

func (s *script) text(text string) uint64 { return s.put(append([]byte(text), 0)) }

// do adds a step. Its name is what the host is told if it fails, and the number of the error the exit code.
func (s *script) do(name string, retry bool, number uint64, args ...uint64) {
	line := fmt.Appendf(nil, "%s 000\n", base64.StdEncoding.EncodeToString([]byte(name)))
	st := step{number: number, line: s.put(line), lineLen: uint64(len(line))}
	copy(st.args[:], args)
	if retry {
		st.retry = 1
	}
	s.steps = append(s.steps, st)
}

// write adds what writes a text to a file.
func (s *script) write(path, text string) {
	s.do("opening "+path, false, unix.SYS_OPEN, s.text(path), unix.O_WRONLY)
	s.do("writing to "+path, false, unix.SYS_WRITE, 1, s.put([]byte(text)), uint64(len(text)))
	s.do("closing "+path, false, unix.SYS_CLOSE, 1)
}

// page gives the whole, and what is to stand in R13 and R14.
func (s *script) page() (b []byte, errors, tenth uint64) {
	var texts []byte
	for errno := range 200 {
		texts = fmt.Appendf(texts, "%03d\n", errno)
	}
	errors = s.put(texts)
	tenth = s.put(binary.LittleEndian.AppendUint64(make([]byte, 8), 100e6))
	b = append(b, puppetCode()[:]...)
	b, _ = binary.Append(b, binary.LittleEndian, s.steps)
	b = append(b, make([]byte, codeSize+maxSteps*stepSize-len(b))...)
	return append(b, s.data...), errors, tenth
}

// puppetInit takes process 1 over, leaves it nothing but one page of memory, and has it go through a script there.
func puppetInit(write func(*script)) error {
	runtime.LockOSThread() // which alone may speak to a process that it traces
	if err := unix.PtraceAttach(1); err != nil {
		return fmt.Errorf("attaching to process 1: %w", err)
	}
	init := &tracee{pid: 1}
	init.await()
	init.resume(unix.PtraceSyscall(1, 0)) // up to its next system call
	init.syscall = init.regs.Rip - 2
	init.goTo(init.regs.Rip) // which is not made
	init.resume(unix.PtraceSyscall(1, 0))

	s := &script{at: init.call(unix.SYS_MMAP, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, 1<<64-1, 0)}
	name := s.text(exe)
	write(s)
	page, errors, tenth := s.page()
	init.poke(s.at, page)
	init.syscall = s.at + codeSize - 2
	init.poke(init.syscall, []byte("\x0f\x05"))
	init.endSequences()
	const lowest, highest = 1 << 16, 1<<47 - 4096
	init.call(unix.SYS_MUNMAP, lowest, s.at-lowest)
	init.call(unix.SYS_MUNMAP, s.at+pageSize, highest-s.at-pageSize)
	init.call(unix.SYS_CLOSE_RANGE, 0, 1<<32-1, 0)
	fd := init.call(unix.SYS_OPEN, name, unix.O_RDONLY)
	init.call(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_EXE_FILE, fd, 0, 0)
	init.call(unix.SYS_CLOSE, fd)
	init.regs.R13, init.regs.R14, init.regs.R15 = errors, tenth, s.at+codeSize
	init.goTo(s.at)
	if init.err != nil {
		return init.err
	}
	return unix.PtraceDetach(1)
}

// tracee is a stopped process that makes system calls for us. Its first error is kept.
type tracee struct {
	pid     int
	regs    unix.PtraceRegs
	syscall uint64 // where it has the instruction
	err     error
}

// await waits until it stops again.
func (p *tracee) await() {
	if p.err == nil {
		_, p.err = unix.Wait4(p.pid, nil, 0, nil)
	}
	if p.err == nil {
		p.err = unix.PtraceGetRegs(p.pid, &p.regs)
	}
}

// resume is for what lets it run.
func (p *tracee) resume(err error) {
	p.err = cmp.Or(p.err, err)
	p.await()
}

func (p *tracee) goTo(rip uint64) {
	p.regs.Rip, p.regs.Orig_rax = rip, 1<<64-1 // no system call is to be made again
	if p.err == nil {
		p.err = unix.PtraceSetRegs(p.pid, &p.regs)
	}
}

func (p *tracee) poke(at uint64, b []byte) {
	if p.err == nil {
		_, p.err = unix.PtracePokeData(p.pid, uintptr(at), b)
	}
}

func (p *tracee) call(number uint64, args ...uint64) uint64 {
	p.regs.Rax = number
	for i, arg := range args {
		*[]*uint64{&p.regs.Rdi, &p.regs.Rsi, &p.regs.Rdx, &p.regs.R10, &p.regs.R8, &p.regs.R9}[i] = arg
	}
	p.goTo(p.syscall)
	if p.err == nil {
		p.resume(unix.PtraceSingleStep(p.pid))
	}
	if errno := -int64(p.regs.Rax); p.err == nil && errno > 0 && errno < 4096 {
		p.err = fmt.Errorf("system call %d of process %d: %w", number, p.pid, unix.Errno(errno))
	}
	return p.regs.Rax
}

// endSequences has the kernel forget the memory that it writes to for restartable sequences (rseq(2)).
func (p *tracee) endSequences() {
	const getConfiguration, unregister = 0x420f, 1 // PTRACE_GET_RSEQ_CONFIGURATION, RSEQ_FLAG_UNREGISTER
	var is struct {
		pointer               uint64
		size, signature, _, _ uint32
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, getConfiguration, uintptr(p.pid), unsafe.Sizeof(is), uintptr(unsafe.Pointer(&is)), 0, 0)
	if errno != 0 && p.err == nil {
		p.err = errno
	}
	if is.pointer != 0 {
		p.call(unix.SYS_RSEQ, is.pointer, uint64(is.size), unregister, uint64(is.signature))
	}
}
