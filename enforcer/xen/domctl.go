package xen

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Commands of struct xen_domctl (xen/include/public/domctl.h).
const (
	domctlPause          = 3
	domctlUnpause        = 4
	domctlInfo           = 5
	domctlSetContext     = 12
	domctlGetContext     = 13
	domctlSetDebugging   = 18
	domctlVMEvent        = 56
	domctlSetXstate      = 62
	domctlGetXstate      = 63
	domctlMonitor        = 77
	domctlPauseVCPU      = 1001 // gdbsx_pausevcpu
	domctlUnpauseVCPU    = 1002
	domctlDebuggerStatus = 1003 // gdbsx_domstatus
)

// Layout of struct xen_domctl.
const (
	domctlSize    = 144
	domctlVersion = 4
	domctlDomain  = 8
	domctlUnion   = 16
)

// union is the argument of the next domctl.
func (h *hypervisor) union() []byte { return h.buf[domctlUnion:domctlSize] }

// domctl makes one, with what was put into the union before; words go there first.
func (h *hypervisor) domctl(domain uint16, cmd uint32, words ...uint32) error {
	for i, w := range words {
		le.PutUint32(h.union()[4*i:], w)
	}
	clear(h.buf[:domctlUnion])
	le.PutUint32(h.buf, cmd)
	le.PutUint32(h.buf[domctlVersion:], h.v.domctl)
	le.PutUint16(h.buf[domctlDomain:], domain)
	_, err := h.call(hypercallDomctl, h.addr(atDomctl))
	return err
}

// info of a domain (struct xen_domctl_getdomaininfo).
type info struct {
	flags    uint32
	cpuTime  uint64 // that all virtual CPUs ran, in nanoseconds
	lastVCPU uint32 // the highest number
	handle   [16]byte
}

// Bits of info.flags (XEN_DOMINF_*).
const (
	flagDying    = 1 << 0
	flagHVM      = 1 << 1
	flagShutdown = 1 << 2
	flagPaused   = 1 << 3
	shutdownBits = 16
)

// shutdownSuspend is the reason of a shutdown for which a domain lives on elsewhere
// (SHUTDOWN_suspend, xen/include/public/sched.h).
const shutdownSuspend = 2

const (
	infoFlags   = 4
	infoCPUTime = 56
	infoVCPU    = 68
	infoHandle  = 76
)

func (i *info) hvm() bool      { return i.flags&flagHVM != 0 }
func (i *info) shutdown() bool { return i.flags&(flagShutdown|flagDying) != 0 }
func (i *info) reason() int    { return int(i.flags>>shutdownBits) & 0xff }

func (h *hypervisor) info(domain uint16) (i info, err error) {
	u := h.union()
	clear(u)
	if err := h.domctl(domain, domctlInfo); err != nil {
		return i, err
	}
	if got := le.Uint16(u); got != domain { // Xen gives the next one that there is
		return i, unix.ESRCH
	}
	i = info{
		flags:    le.Uint32(u[infoFlags:]),
		cpuTime:  le.Uint64(u[infoCPUTime:]),
		lastVCPU: le.Uint32(u[infoVCPU:]),
		handle:   [16]byte(u[infoHandle:]),
	}
	if i.lastVCPU > maxVCPU {
		return i, fmt.Errorf("domain %d has no virtual CPU", domain)
	}
	return i, nil
}

// maxVCPU is beyond what any guest has; Xen says ^0 if there is none.
const maxVCPU = 4096
