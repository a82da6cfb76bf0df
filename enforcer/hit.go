package enforcer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// maxText is what neither a path (PATH_MAX) nor a rule (ima_write_policy,
// security/integrity/ima/ima_fs.c) is longer than.
const maxText = 4096

// hit is one call of a trapped function, by the kernel.
type hit struct {
	e       *Enforcer
	stop    *guest.Stop
	r       Record
	answer  guest.Answer
	posture posture
	back    uint64 // the return address, on top of the stack

	began          time.Time
	memory, verify time.Duration // spent in reading, and in verifying
}

// judges decide about the calls of the functions that are trapped.
var judges = map[string]func(*hit) error{
	"ima_appraise_measurement": (*hit).appraise,
	"integrity_digsig_verify":  (*hit).digsigVerify,
	"ima_parse_add_rule":       (*hit).parseRule,
	"ima_update_policy":        (*hit).updatePolicy,
	"ima_bprm_check":           (*hit).bprmCheck,
	"blkdev_mmap":              (*hit).blockMmap,
}

// judge decides, and leaves answer and record filled. An error freezes the guest.
func (h *hit) judge() error {
	if judge, ok := judges[h.r.Hook]; ok {
		return judge(h)
	}
	return errors.New("not one of the traps")
}

// runsOn lets the function run: from behind the nop at its entry.
func (h *hit) runsOn(v Verdict, reason string) error {
	h.r.Verdict, h.r.Reason = v, reason
	h.answer = guest.Answer{RIP: h.stop.Regs.RIP + nopSize}
	return nil
}

// returns answers in the function's place, as its ret instruction would.
func (h *hit) returns(v Verdict, rax uint64, reason string) error {
	h.r.Verdict, h.r.Reason = v, reason
	h.answer = guest.Answer{Return: true, RAX: rax, RIP: h.back, RSP: h.stop.Regs.RSP + 8}
	return nil
}

// read fills the ranges and with them what every hit needs. Each of the ranges may
// fail on its own; the rest may not.
func (h *hit) read(ranges ...guest.Range) ([]guest.Range, error) {
	p, n := h.e.Profile, len(ranges)
	v, slide := &p.Variables, h.e.slide
	ranges, err := h.more(append(ranges, number(h.stop.Regs.RSP, 8),
		number(v.Appraise+slide, 4), number(v.PolicyFlag+slide, 4), number(v.KexecLoadDisabled+slide, 4))...)
	if err != nil {
		return nil, err
	}
	ranges, own := ranges[:n], ranges[n:]
	if err := firstErr(own); err != nil {
		return nil, err
	}
	h.back, h.posture = value(own[0]), posture{value(own[1]), value(own[2]), value(own[3])}
	if to := h.back - slide; to < p.Text || to >= p.TextEnd {
		return nil, fmt.Errorf("called from %#x, which is not in the kernel's text", h.back)
	}
	return ranges, nil
}

// more is read without what every hit needs.
func (h *hit) more(ranges ...guest.Range) ([]guest.Range, error) {
	start := time.Now()
	err := h.e.Guest.Read(h.stop.VCPU, ranges)
	h.memory += time.Since(start)
	return ranges, err
}

// number is a range for one of so many bytes, at most 8; value is what was read there.
func number(addr uint64, size int) guest.Range {
	return guest.Range{Addr: addr, Buf: make([]byte, size)}
}

func value(r guest.Range) uint64 {
	var b [8]byte
	copy(b[:], r.Buf)
	return binary.LittleEndian.Uint64(b[:])
}

// read fills ranges of which none may fail.
func (e *Enforcer) read(vcpu int, ranges ...guest.Range) error {
	_, err := whole(ranges, e.Guest.Read(vcpu, ranges))
	return err
}

// text reads on behind what was read at an address, up to the first of the bytes of end.
func (h *hit) text(at uint64, text []byte, end string) ([]byte, error) {
	for !bytes.ContainsAny(text, end) {
		if len(text) > maxText {
			return nil, errors.New("a text without an end")
		}
		from := at + uint64(len(text))
		r, err := whole(h.more(guest.Range{Addr: from, Buf: make([]byte, min(512, pageSize-from%pageSize))}))
		if err != nil {
			return nil, err
		}
		text = append(text, r[0].Buf...)
	}
	return text[:bytes.IndexAny(text, end)], nil
}

// whole is for what read or more gives where no range may fail.
func whole(ranges []guest.Range, err error) ([]guest.Range, error) {
	if err == nil {
		err = firstErr(ranges)
	}
	return ranges, err
}

// firstErr is the first of what could not be read.
func firstErr(ranges []guest.Range) error {
	for _, r := range ranges {
		if r.Err != nil {
			return fmt.Errorf("reading %d bytes at %#x: %w", len(r.Buf), r.Addr, r.Err)
		}
	}
	return nil
}
