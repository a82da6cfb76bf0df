package enforcer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/enforcer/guest/guesttest"
	"github.com/vmseal/vmseal/formats/profile"
)

const denied = uint64(2) // INTEGRITY_FAIL of the test kernel

func TestBoot(t *testing.T) {
	for name, slide := range map[string]uint64{"at its place": 0, "moved": 0x1c00000, "moved down": ^uint64(0x600000) + 1} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, slide)
			// Before the kernel is found, firmware and early kernel code run.
			b.Do(at(0x7c00, 0xf000), at(0x1000200, kernelCS), at(text+slide+0x5000, kernelCS))
			b.boot()
			value, sum := signed(t, "true")
			b.Do(b.appraisal(rootSB, 3, value), b.verification(value, sum))
			a, r := b.run()
			if r.Verdict != Allow || r.Path != "/usr/bin/true" || r.Func != "BPRM_CHECK" {
				t.Errorf("record %+v", r)
			}
			want := guest.Answer{Return: true, RAX: 0, RIP: caller + slide, RSP: stack + 8}
			if a != want {
				t.Errorf("answer %+v, want %+v", a, want)
			}
			if s := b.saved(); s.Phase != initramfsLeft || s.Slide != slide {
				t.Errorf("saved %+v", s)
			}
			if slices.Contains(b.Traps, entry("security_bprm_check")+slide) || len(b.Traps) != 4 {
				t.Errorf("traps %#x", b.Traps)
			}
		})
	}
}

// at returns the event that a vCPU reaches an address.
func at(rip uint64, cs uint16) guesttest.Event {
	return func(*guesttest.Guest) (int, guest.Registers) { return 0, guest.Registers{RIP: rip, CS: cs} }
}

// TestNoKASLR: a kernel that is not moved has its traps from the first instruction on, so a hit can
// come before the kernel is searched.
func TestNoKASLR(t *testing.T) {
	b := newBed(t, 0)
	b.Do(b.exec(initSB))
	if a, _ := b.run(); a.Return || a.RIP != entry("security_bprm_check")+profile.HookSize {
		t.Errorf("answer %+v", a)
	}
}

// TestAppraisal tests the decisions at ima_appraise_measurement.
func TestAppraisal(t *testing.T) {
	value, _ := signed(t, "true")
	disk := NewDevice(254, 1)
	tests := map[string]struct {
		sb     uint64
		fn     uint64
		xattr  []byte
		device Device
		digest bool // --allow-digest
		want   Verdict
		reason string
	}{
		"signature":             {rootSB, 3, value, 0, false, Pass, ""},
		"fs-verity":             {rootSB, 3, []byte{6, 3, 4, 0, 0, 0, 0, 1, 0}, 0, false, Pass, ""},
		"no value":              {rootSB, 3, nil, 0, false, Deny, "no security.ima signature"},
		"empty value":           {rootSB, 3, []byte{}, 0, false, Deny, "no security.ima signature"},
		"digest":                {rootSB, 3, []byte{4, 4, 1, 2}, 0, false, Deny, "digest"},
		"digest, reading":       {rootSB, 1, []byte{4, 4, 1, 2}, 0, false, Deny, "digest"},
		"digest allowed":        {rootSB, 1, []byte{4, 4, 1, 2}, 0, true, Allow, "only read"},
		"digest, mmap":          {rootSB, 2, []byte{4, 4, 1, 2}, 0, true, Deny, "digest"},
		"digest, exec":          {rootSB, 3, []byte{4, 4, 1, 2}, 0, true, Deny, "digest"},
		"digest, module":        {rootSB, 6, []byte{4, 4, 1, 2}, 0, true, Deny, "digest"},
		"digest, firmware":      {rootSB, 7, []byte{4, 4, 1, 2}, 0, true, Deny, "digest"},
		"digest, kexec":         {rootSB, 8, []byte{4, 4, 1, 2}, 0, true, Deny, "digest"},
		"policy file":           {rootSB, 10, value, disk, false, Deny, "takes no more rules"},
		"policy, unsigned":      {rootSB, 10, []byte{4, 4}, 0, true, Deny, "takes no more rules"},
		"policy, initramfs":     {initSB, 10, value, 0, false, Deny, "takes no more rules"},
		"digest, unknown func":  {rootSB, 77, []byte{4, 4, 1, 2}, 0, true, Deny, "digest"},
		"old digest":            {rootSB, 1, []byte{1, 1, 2}, 0, true, Deny, "digest"},
		"EVM's type":            {rootSB, 3, []byte{2, 1}, 0, false, Deny, "unknown type 2"},
		"unknown type":          {rootSB, 3, []byte{9, 1}, 0, false, Deny, "unknown"},
		"pinned disk":           {rootSB, 3, value, disk, false, Pass, ""},
		"other disk":            {otherSB, 3, value, disk, false, Deny, "254:16"},
		"any disk":              {otherSB, 3, value, 0, false, Pass, ""},
		"memory":                {tmpSB, 3, value, disk, false, Deny, "network); only 254:1"},
		"memory, any disk":      {tmpSB, 3, value, 0, false, Pass, ""},
		"unverifiable":          {fuseSB, 3, value, disk, false, Deny, "unnoticed"},
		"unverifiable, unbound": {fuseSB, 3, value, 0, false, Deny, "unnoticed"},
		"initramfs, too late":   {initSB, 3, nil, 0, false, Deny, "no security.ima signature"},
		"initramfs, pinned":     {initSB, 3, value, disk, false, Deny, "without a disk"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.e.config.Device, b.e.config.AllowDigest = tt.device, tt.digest
			b.boot()
			b.Do(b.appraisal(rootSB, 3, value)) // leaves the initramfs
			b.Do(b.appraisal(tt.sb, tt.fn, tt.xattr))
			a, r := b.run()
			if r.Verdict != tt.want || !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("%s: %s, want %s: %s", r.Verdict, r.Reason, tt.want, tt.reason)
			}
			want := guest.Answer{RIP: entry("ima_appraise_measurement") + profile.HookSize}
			if tt.want == Deny {
				want = guest.Answer{Return: true, RAX: denied, RIP: caller, RSP: stack + 8}
			}
			if a != want {
				t.Errorf("answer %+v, want %+v", a, want)
			}
		})
	}
}

// TestBlockDevice: IMA checks regular files only, so block devices are checked here.
func TestBlockDevice(t *testing.T) {
	value, _ := signed(t, "true")
	const area = heap + 0xa0000
	for name, tt := range map[string]struct {
		at    uint64
		flags byte
		first bool
		want  Verdict
	}{
		"readable":         {area, 0x1, false, Pass},
		"writable":         {area, 0x3, false, Pass},
		"executable":       {area, 0x5, false, Deny},
		"unreadable":       {8, 0x1, false, Deny},
		"described":        {area, 0x3, true, Pass},
		"executable, 6.17": {area, 0x5, true, Deny},
		"unreadable, 6.17": {8, 0x1, true, Deny},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.boot()
			b.Do(b.appraisal(rootSB, 3, value))
			b.Write(area, make([]byte, 64))
			b.Write(area+uint64(kernel.Offsets.AreaFlags), []byte{tt.flags})
			r := guest.Registers{RDI: 8, RSI: tt.at}
			if tt.first { // blkdev_mmap_prepare
				b.change(func(p *profile.Profile) { p.Values.AreaArgument = 0 })
				r = guest.Registers{RDI: tt.at, RSI: 8}
			}
			b.Do(b.call(entry("blkdev_mmap"), r))
			a, rec := b.run()
			if rec.Verdict != tt.want || (tt.want == Deny) != a.Return || a.Return && int64(a.RAX) != -13 {
				t.Errorf("%+v, answer %+v", rec, a)
			}
		})
	}
}

// TestMoved: a hit that is gone when it is answered happens again, and counts once.
func TestMoved(t *testing.T) {
	value, sum := signed(t, "true")
	for name, hit := range map[string]func(b *bed) []guesttest.Event{
		"rule":      func(b *bed) []guesttest.Event { return []guesttest.Event{b.addRule(pinned[0]), b.addRule(pinned[1])} },
		"signature": func(b *bed) []guesttest.Event { b.boot(); return []guesttest.Event{b.verification(value, sum)} },
		"user": func(b *bed) []guesttest.Event {
			b.boot()
			return []guesttest.Event{func(*guesttest.Guest) (int, guest.Registers) {
				return 0, guest.Registers{CS: userCS, RIP: entry("ima_parse_add_rule")}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			events := hit(b)
			first := true
			b.Do(b.after(func() { b.Moved, first = first, false }, events[0]))
			b.Do(events[1:]...)
			before := len(b.Events)
			a, r := b.run()
			if b.Moved || len(b.Answers) != before || a.RIP == 0 || r.Verdict == Freeze {
				t.Errorf("%d answers to %d hits, the last %+v: %+v", len(b.Answers), before, a, r)
			}
		})
	}
	b := newBed(t, 0)
	b.boot()
	last := len(b.Events) - 1 // the hit that proves that the policy is in force
	b.Events[last] = b.after(func() { b.Moved = true }, b.Events[last])
	if err := b.e.Run(); err == nil || !b.Frozen || !errors.Is(err, guest.ErrMoved) {
		t.Errorf("after progress by a hit that is gone: %v", err)
	}
}

// TestInitramfs: files of the initramfs need no signature until a program outside it is executed.
func TestInitramfs(t *testing.T) {
	b := newBed(t, 0)
	b.boot()
	b.Do(b.appraisal(initSB, 2, nil))
	if a, r := b.run(); r.Verdict != Allow || !a.Return || a.RAX != 0 {
		t.Errorf("%+v, answer %+v", r, a)
	}
}

// TestExchanges: a file on the same disk as the last one costs two exchanges. If a file without a
// disk came in between, it costs three.
func TestExchanges(t *testing.T) {
	b := newBed(t, 0)
	value, sum := signed(t, "true")
	b.boot()
	for range 2 {
		b.Do(b.appraisal(rootSB, 3, value), b.verification(value, sum))
	}
	before := 0
	b.Do(b.after(func() { before = b.Reads }, b.appraisal(rootSB, 3, value)))
	b.run()
	if n := b.Reads - before; n > 2 {
		t.Errorf("%d exchanges", n)
	}
	b1 := newBed(t, 0)
	b1.boot()
	b1.Do(b1.appraisal(rootSB, 3, value), b1.appraisal(tmpSB, 3, value), b1.after(func() { before = b1.Reads }, b1.appraisal(rootSB, 3, value)))
	b1.run()
	if n := b1.Reads - before; n > 3 {
		t.Errorf("%d exchanges after a file elsewhere", n)
	}
	before = 0
	b2 := newBed(t, 0)
	b2.boot()
	b2.Do(b2.appraisal(rootSB, 3, value), b2.after(func() { before = b2.Reads }, b2.verification(value, sum)))
	b2.run()
	if n := b2.Reads - before; n > 1 {
		t.Errorf("%d exchanges for a signature", n)
	}
}

// TestPath: the kernel builds paths at the end of a page.
func TestPath(t *testing.T) {
	value, _ := signed(t, "true")
	long := "/" + strings.Repeat("d/", 1900) + "f"
	for name, at := range map[string]uint64{"long": heap + 0x90000, "at a page's end": heap + 0x92000 - uint64(len(long)+1)} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.boot()
			b.Write(at, append([]byte(long), 0))
			f := b.file(rootSB)
			b.Do(b.after(func() { b.Write(xattr, value) }, b.call(entry("ima_appraise_measurement"),
				guest.Registers{RDI: 3, RDX: f, RCX: at, R8: xattr, R9: uint64(len(value))})))
			if _, r := b.run(); r.Path != long {
				t.Errorf("path of %d bytes, want %d", len(r.Path), len(long))
			}
		})
	}
}

// TestUserJump: user code that jumps to a trapped address gets its page fault.
func TestUserJump(t *testing.T) {
	b := newBed(t, 0)
	b.boot()
	records := 0
	b.Do(b.after(func() { records = len(b.records) }, at(entry("ima_appraise_measurement"), userCS)))
	if err := b.e.Run(); err != nil {
		t.Fatal(err)
	}
	want := guest.Answer{RIP: entry("ima_appraise_measurement") + profile.HookSize}
	if a := b.Answers[len(b.Answers)-1]; a != want {
		t.Errorf("answer %+v", a)
	}
	if more := b.records[records:]; len(more) != 1 || more[0].Verdict != Jump {
		t.Errorf("records %+v", more)
	}
}
