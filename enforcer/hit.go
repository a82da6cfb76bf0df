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

// hit is one call of a trapped function, by the kernel.
type hit struct {
	*memory
	point
	e       *Enforcer
	regs    *guest.Registers
	r       Record
	answer  guest.Answer
	posture posture
	back    uint64        // the return address, on top of the stack
	verify  time.Duration // spent in verifying
}

// runsOn lets the function run: from behind the nop at its entry.
func (h *hit) runsOn(v Verdict, reason string) error {
	h.r.Verdict, h.r.Reason = v, reason
	h.answer = guest.Answer{RIP: h.regs.RIP + profile.HookSize}
	return nil
}

// returns answers in the function's place, as its ret instruction would.
func (h *hit) returns(v Verdict, rax uint64, reason string) error {
	h.r.Verdict, h.r.Reason = v, reason
	h.answer = guest.Answer{Return: true, RAX: rax, RIP: h.back, RSP: h.regs.RSP + 8}
	return nil
}

// arguments fills the ranges and with them what every hit needs. Each of the ranges may
// fail on its own; the rest may not.
func (h *hit) arguments(ranges ...*guest.Range) error {
	p := h.e.config.Profile
	own := append(h.e.variables(), span(h.regs.RSP, 8))
	if err := cmp.Or(h.try(append(own, ranges...)...), unread(own...)); err != nil {
		return err
	}
	h.posture, h.back = postureOf(own), value(own[len(own)-1])
	if to := h.back - h.e.saved.Slide; to < p.Text || to >= p.TextEnd {
		return fmt.Errorf("called from %#x, which is not in the kernel's text", h.back)
	}
	return h.e.lockedDown(h.posture)
}

const pageSize = 4096

// maxText is what neither a path (PATH_MAX) nor a rule (ima_write_policy,
// security/integrity/ima/ima_fs.c) is longer than.
const maxText = 4096

// memory is that of a stopped guest, as one of its virtual CPUs sees it.
type memory struct {
	guest guest.Guest
	vcpu  int
	spent time.Duration // in reading
}

func (e *Enforcer) memory(vcpu int) *memory {
	return &memory{guest: e.config.Guest, vcpu: vcpu}
}

// try fills ranges, each of which may fail on its own.
func (m *memory) try(ranges ...*guest.Range) error {
	start := time.Now()
	err := m.guest.Read(m.vcpu, ranges)
	m.spent += time.Since(start)
	return err
}

// read fills ranges of which none may fail.
func (m *memory) read(ranges ...*guest.Range) error {
	return cmp.Or(m.try(ranges...), unread(ranges...))
}

// text reads on behind the beginning of a text, up to the first of the bytes of end.
func (m *memory) text(begin *guest.Range, end string) (string, error) {
	text, err := begin.Buf, begin.Err
	for err == nil && !bytes.ContainsAny(text, end) {
		if len(text) > maxText {
			return "", errors.New("a text without an end")
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

// span is memory to be read.
func span(addr uint64, size int) *guest.Range {
	return &guest.Range{Addr: addr, Buf: make([]byte, size)}
}

// inPage is a span that is cut where its page ends: what comes next need not be mapped.
func inPage(addr uint64, size int) *guest.Range {
	return span(addr, min(size, pageSize-int(addr%pageSize)))
}

// value is a number of at most 8 bytes that was read.
func value(r *guest.Range) uint64 {
	var b [8]byte
	copy(b[:], r.Buf)
	return binary.LittleEndian.Uint64(b[:])
}

// unread is the first of what could not be read.
func unread(ranges ...*guest.Range) error {
	for _, r := range ranges {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}
