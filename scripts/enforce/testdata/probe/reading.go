//go:build amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

func mmapRead(args []string) error {
	m, err := mapFirst(args[0], os.O_RDONLY, unix.PROT_READ, unix.MAP_PRIVATE)
	if err == nil && m[0] == 0 {
		err = errors.New("it begins with a zero")
	}
	return err
}

func directRead(args []string) error {
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	aligned, err := unix.Mmap(-1, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	_, err = unix.Read(fd, aligned)
	return err
}

func sendFile(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	n, err := unix.Sendfile(int(w.Fd()), int(f.Fd()), nil, page)
	if err == nil && n == 0 {
		err = errors.New("nothing was sent")
	}
	return err
}

// ringParams is struct io_uring_params (include/uapi/linux/io_uring.h).
type ringParams struct {
	submissions, completions, flags, cpu, idle, features, workers uint32
	_                                                             [3]uint32
	sq, cq                                                        struct {
		head, tail, mask, entries uint32
		five, six, array          uint32 // cq: cqes is the sixth
		_                         uint32
		_                         uint64
	}
}

// submission is struct io_uring_sqe for IORING_OP_OPENAT.
type submission struct {
	op, flags uint8
	_         uint16
	dirfd     int32
	_         uint64
	path      uint64
	mode      uint32
	open      uint32 // flags of openat(2)
	user      uint64
	_         [24]byte
}

// completion is struct io_uring_cqe.
type completion struct {
	user   uint64
	result int32
	_      uint32
}

const (
	ringOpenAt  = 18         // IORING_OP_OPENAT
	ringOffset  = 0          // IORING_OFF_SQ_RING
	queueOffset = 0x10000000 // IORING_OFF_SQES
	doneOffset  = 0x8000000  // IORING_OFF_CQ_RING
	getEvents   = 1          // IORING_ENTER_GETEVENTS
)

// uringRead has the kernel open the file by a request in a ring.
func uringRead(args []string) error {
	var p ringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return fmt.Errorf("making a ring: %w", errno)
	}
	defer unix.Close(int(fd))
	ring, err1 := unix.Mmap(int(fd), ringOffset, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	queue, err2 := unix.Mmap(int(fd), queueOffset, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	done, err3 := unix.Mmap(int(fd), doneOffset, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("mapping a ring: %w", err)
	}
	path, err := unix.BytePtrFromString(args[0])
	if err != nil {
		return err
	}
	*(*submission)(unsafe.Pointer(&queue[0])) = submission{op: ringOpenAt, dirfd: unix.AT_FDCWD, path: uint64(uintptr(unsafe.Pointer(path)))}
	*(*uint32)(unsafe.Pointer(&ring[p.sq.array])) = 0
	atomic.AddUint32((*uint32)(unsafe.Pointer(&ring[p.sq.tail])), 1)
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, fd, 1, 1, getEvents, 0, 0); errno != 0 {
		return fmt.Errorf("entering the ring: %w", errno)
	}
	c := (*completion)(unsafe.Pointer(&done[p.cq.six]))
	if c.result < 0 {
		return unix.Errno(-c.result)
	}
	runtime.KeepAlive(path)
	_, err = unix.Read(int(c.result), make([]byte, page))
	return err
}
