package xen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

var le = binary.LittleEndian

// Numbers of hypercalls (xen/include/public/xen.h) and of requests to Linux's
// /dev/xen/privcmd (include/uapi/xen/privcmd.h).
const (
	hypercallMemory  = 12 // memory_op
	hypercallVersion = 17 // xen_version
	hypercallHVM     = 34 // hvm_op
	hypercallDomctl  = 36
	hypercallDM      = 41 // dm_op

	privcmdHypercall = 0x305000 // IOCTL_PRIVCMD_HYPERCALL
	privcmdMapBatch  = 0x205004 // IOCTL_PRIVCMD_MMAPBATCH_V2
)

const pageSize = 4096

// What the pages that hypercalls read and write are used for. Xen reaches them at any
// moment, so the kernel must never move them: /dev/xen/hypercall gives such memory.
const (
	atDomctl  = 0
	atContext = 1 * pageSize // of a virtual CPU, two pages
	atData    = 3 * pageSize
	atXstate  = 4 * pageSize
	bufferEnd = 12 * pageSize
)

// sizeXstate is what the extended state of a virtual CPU may need: AVX-512 and AMX
// make 11 KiB of it.
const sizeXstate = bufferEnd - atXstate

// hypervisor makes hypercalls. It is for one goroutine.
type hypervisor struct {
	fd    int
	buf   []byte
	calls int // hypercalls made, mappings of foreign memory included
	v     version

	maxXstate, xfeatures uint64 // what extended state there is on this machine
}

func openHypervisor() (*hypervisor, error) {
	fd, err := unix.Open("/dev/xen/privcmd", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reaching Xen through /dev/xen/privcmd: %w", err)
	}
	h := &hypervisor{fd: fd}
	mem, err := unix.Open("/dev/xen/hypercall", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		h.buf, err = unix.Mmap(mem, 0, bufferEnd, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		unix.Close(mem)
	}
	if err != nil {
		h.close()
		return nil, fmt.Errorf("getting memory for hypercalls from /dev/xen/hypercall: %w", err)
	}
	if err := h.probe(); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *hypervisor) close() error {
	if h.buf != nil {
		_ = unix.Munmap(h.buf)
	}
	return unix.Close(h.fd)
}

// addr is where Xen finds a place of the buffer.
func (h *hypervisor) addr(at int) uint64 { return uint64(uintptr(unsafe.Pointer(&h.buf[at]))) }

// call makes one hypercall (struct privcmd_hypercall). Xen's error numbers are Linux's.
func (h *hypervisor) call(op uint64, args ...uint64) (int, error) {
	var c [6]uint64
	c[0] = op
	copy(c[1:], args)
	h.calls++
	r, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(h.fd), privcmdHypercall, uintptr(unsafe.Pointer(&c)))
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

// version is what differs between releases of Xen.
type version struct {
	release string
	domctl  uint32 // XEN_DOMCTL_INTERFACE_VERSION
	event   uint32 // VM_EVENT_INTERFACE_VERSION
}

// versions are those whose structures are known to be laid out as this package has
// them.
var versions = []version{
	{"4.14", 0x12, 6}, {"4.15", 0x13, 7}, {"4.16", 0x14, 7}, {"4.17", 0x15, 7}, {"4.18", 0x16, 7},
	{"4.19", 0x17, 7}, {"4.20", 0x17, 7}, {"4.21", 0x17, 7}, {"4.22", 0x18, 7},
}

var errVersion = errors.New("this release of Xen is not known")

// probe takes the interface version of the running release, and has Xen confirm it:
// it refuses every other with EACCES, before it looks at anything else.
func (h *hypervisor) probe() error {
	r, err := h.call(hypercallVersion, 0) // XENVER_version
	if err != nil {
		return fmt.Errorf("asking Xen for its version: %w", err)
	}
	release := fmt.Sprintf("%d.%d", r>>16, r&0xffff)
	for _, v := range versions {
		if v.release != release {
			continue
		}
		h.v = v
		if _, err := h.info(0); err != nil {
			return fmt.Errorf("xen %s does not take the domctl interface %#x of that release: %w", release, v.domctl, err)
		}
		return nil
	}
	return fmt.Errorf("%w: %s, want %s to %s", errVersion, release, versions[0].release, versions[len(versions)-1].release)
}
