package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// supervisedEnv names the program that a copy of this test turns into once its system calls are supervised.
const supervisedEnv = "VMSEAL_E2E_SUPERVISED"

// supervise runs a command with its operations on files below a folder supervised: each one waits until decide has
// seen it, and then fails with the error that decide returns, or goes on for 0. One is decided on at a time.
//
// The means is seccomp_unotify(2). Unlike strace, whose injections are counted by thread, it sees all threads of a
// Go program as one, so that every single operation can be reached.
func supervise(t *testing.T, cmd *exec.Cmd, folder string, decide func(operation) unix.Errno) result {
	t.Helper()
	ours, theirs := socketPair(t)
	defer ours.Close()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(cmd.Env, supervisedEnv+"="+cmd.Path)
	cmd.Path, cmd.ExtraFiles = "/proc/self/exe", []*os.File{theirs}
	err := cmd.Start()
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := receiveFile(ours)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("supervising %s: %v\n%s", cmd.Args[0], err, stderr.String())
	}
	defer unix.Close(listener)
	served := make(chan error, 1)
	n := 0
	go func() {
		served <- serve(listener, func(thread uint32, nr uint32, args [6]uint64) unix.Errno {
			c := calls[nr]
			path := c.file(thread, args)
			if path != folder && !strings.HasPrefix(path, folder+"/") {
				return 0
			}
			n++
			return decide(operation{n, c.name, path})
		})
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatalf("supervising %s: %v", cmd.Args[0], err)
	}
	return result{strings.Join(cmd.Args, " "), stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// notification is struct seccomp_notif with its struct seccomp_data, and response struct seccomp_notif_resp.
type notification struct {
	id                 uint64
	thread, flags      uint32
	nr, arch           uint32
	instructionPointer uint64
	args               [6]uint64
}

type response struct {
	id    uint64
	value int64
	err   int32
	flags uint32
}

// serve answers until nobody is left who could ask.
func serve(listener int, decide func(thread, nr uint32, args [6]uint64) unix.Errno) error {
	for {
		poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			if poll[0].Revents != 0 {
				return nil
			}
			continue
		}
		var n notification
		switch err := control(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err {
		case 0:
		case unix.ENOENT, unix.EINTR: // it was killed meanwhile
			continue
		default:
			return fmt.Errorf("SECCOMP_IOCTL_NOTIF_RECV: %w", err)
		}
		r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if err := decide(n.thread, n.nr, n.args); err != 0 {
			r.err, r.flags = -int32(err), 0
		}
		if err := control(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); err != 0 && err != unix.ENOENT {
			return fmt.Errorf("SECCOMP_IOCTL_NOTIF_SEND: %w", err)
		}
	}
}

func control(fd int, request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return err
}

// beSupervised is the other side: it asks the kernel to report the calls of this thread and of what comes of it, hands
// on the file that these reports come from, and turns into the program.
func beSupervised(program string) error {
	runtime.LockOSThread()
	os.Unsetenv(supervisedEnv)
	const socket = 3 // the first of ExtraFiles
	unix.CloseOnExec(socket)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	filter := reportCalls()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Without the second flag the runtime's own signals would interrupt a call that waits, and it would be reported again.
	listener, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return fmt.Errorf("sending the listener: %w", err)
	}
	return syscall.Exec(program, os.Args, os.Environ())
}

// reportCalls is a filter in classic BPF over struct seccomp_data, whose first field is the number of the call.
func reportCalls() []unix.SockFilter {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	for nr := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr},
			unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	return append(filter, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW})
}

func socketPair(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket")
}

func receiveFile(socket *os.File) (fd int, err error) {
	b, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), b, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return 0, errors.Join(errors.New("no listener came"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	return fds[0], nil
}
