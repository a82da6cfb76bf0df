package enforcer

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/profile"
)

// hit is one call of a trapped function by the kernel.
type hit struct {
	*memory
	point
	e       *Enforcer
	regs    *guest.Registers
	r       Record
	answer  guest.Answer
	posture posture
	back    uint64        // the return address, from the top of the stack
	verify  time.Duration // time spent verifying the signature
}

// proceed lets the function run: it continues behind the nop at the entry.
func (h *hit) proceed(v Verdict, reason string) error {
	h.r.Verdict, h.r.Reason = v, reason
	h.answer = guest.Answer{RIP: h.regs.RIP + profile.HookSize}
	return nil
}

// forceReturn answers in place of the function: it returns to the caller with rax, as the ret
// instruction would.
func (h *hit) forceReturn(v Verdict, rax uint64, reason string) error {
	h.r.Verdict, h.r.Reason = v, reason
	h.answer = guest.Answer{Return: true, RAX: rax, RIP: h.back, RSP: h.regs.RSP + 8}
	return nil
}

// arguments fills the ranges, and reads in the same exchange what every hit needs. A given range
// may fail on its own; the rest must be readable.
func (h *hit) arguments(ranges ...*guest.Range) error {
	p := h.e.config.Profile
	own := append(h.e.variables(), span(h.regs.RSP, 8))
	if err := cmp.Or(h.try(append(own, ranges...)...), readError(own...)); err != nil {
		return err
	}
	h.posture, h.back = postureOf(own), value(own[len(own)-1])
	if to := h.back - h.e.saved.Slide; to < p.Text || to >= p.TextEnd {
		return fmt.Errorf("called from %#x, which is not in the kernel's text", h.back)
	}
	return h.e.lockedDown(h.posture)
}

const pageSize = 4096

// maxText is the maximum length of a path (PATH_MAX) and of a rule (ima_write_policy,
// security/integrity/ima/ima_fs.c).
const maxText = 4096

// memory is the memory of a stopped guest as one of its vCPUs sees it.
type memory struct {
	guest guest.Guest
	vcpu  int
	spent time.Duration // time spent reading
}

func (e *Enforcer) memory(vcpu int) *memory {
	return &memory{guest: e.config.Guest, vcpu: vcpu}
}

// try fills ranges. Each may fail on its own.
func (m *memory) try(ranges ...*guest.Range) error {
	start := time.Now()
	err := m.guest.Read(m.vcpu, ranges)
	m.spent += time.Since(start)
	return err
}

// read fills ranges. It fails if one of them does.
func (m *memory) read(ranges ...*guest.Range) error {
	return cmp.Or(m.try(ranges...), readError(ranges...))
}

// text returns the text that starts at begin and ends before the first byte that is in end. It
// reads more memory as needed.
func (m *memory) text(begin *guest.Range, end string) (string, error) {
	text, err := begin.Buf, begin.Err
	for err == nil && !bytes.ContainsAny(text, end) {
		if len(text) > maxText {
			return "", errors.New("text without an end")
		}
		more := inPage(begin.Addr+uint64(len(text)), 512)
		err = m.read(more)
		text = append(text, more.Buf...)
	}
	if err != nil {
		return "", err
	}
	return string(text[:bytes.IndexAny(text, end)]), nil
}

// span returns a range to be read.
func span(addr uint64, size int) *guest.Range {
	return &guest.Range{Addr: addr, Buf: make([]byte, size)}
}

// inPage returns a span that is cut at the end of its page: the next page need not be mapped.
func inPage(addr uint64, size int) *guest.Range {
	return span(addr, min(size, pageSize-int(addr%pageSize)))
}

// value returns the little-endian number that was read, of at most 8 bytes.
func value(r *guest.Range) uint64 {
	var b [8]byte
	copy(b[:], r.Buf)
	return binary.LittleEndian.Uint64(b[:])
}

// readError returns the error of the first range that could not be read, or nil.
func readError(ranges ...*guest.Range) error {
	for _, r := range ranges {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}
