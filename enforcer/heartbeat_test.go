package enforcer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest/guesttest"
)

// pause returns the event that a guest is stopped at an ordinary instruction.
func (b *bed) pause() guesttest.Event { return at(text+0x5000, kernelCS) }

// TestHeartbeat: heartbeats find changes in what appraisal depends on, without any hit, also after
// a take-over.
func TestHeartbeat(t *testing.T) {
	v, mmap, bprm := &kernel.Variables, kernel.Code[0].Address, kernel.Code[1].Address
	for name, tt := range map[string]struct {
		change func(b *bed)
		says   string // "" if the guest goes on
	}{
		"nothing":                {func(*bed) {}, ""},
		"log mode":               {func(b *bed) { b.setWord(v.Appraise, 5) }, "ima_appraise"},
		"no appraisal":           {func(b *bed) { b.setWord(v.PolicyFlag, 1) }, "ima_policy_flag"},
		"kexec":                  {func(b *bed) { b.setWord(v.KexecLoadDisabled, 0) }, "kexec_load_disabled"},
		"unlocked":               {func(b *bed) { b.setWord(v.LockedDown, lockIntegrity-1) }, "not locked down"},
		"locked down further":    {func(b *bed) { b.setWord(v.LockedDown, lockIntegrity+8) }, ""},
		"other rules":            {func(b *bed) { b.setPointer(v.Rules, data+0x500) }, "ima_rules has changed"},
		"code":                   {func(b *bed) { b.Write(mmap+9, []byte{0xc3}) }, "ima_file_mmap has changed"},
		"code's first byte":      {func(b *bed) { b.Write(mmap, []byte{0xc3}) }, "ima_file_mmap has changed"},
		"code's last byte":       {func(b *bed) { b.Write(bprm+4999, []byte{0xc3}) }, "security_bprm_check has changed"},
		"a static key":           {func(b *bed) { b.Write(mmap+40, []byte{0xeb, 4}) }, ""},
		"a static key's return":  {func(b *bed) { b.Write(mmap+40, []byte{0xc3, 0x90}) }, "ima_file_mmap has changed"},
		"a lock prefix":          {func(b *bed) { b.Write(mmap+50, []byte{0x3e}) }, ""},
		"a lock prefix's jump":   {func(b *bed) { b.Write(mmap+50, []byte{0xeb}) }, "ima_file_mmap has changed"},
		"a traced function":      {func(b *bed) { b.Write(mmap+4, []byte{0xe8, 1, 2, 3, 4}) }, ""},
		"a function on its way":  {func(b *bed) { b.Write(mmap+4, []byte{0xcc, 0x1f, 0x44, 0, 0}) }, ""},
		"a return at its entry":  {func(b *bed) { b.Write(mmap+4, []byte{0x31, 0xc0, 0xc3}) }, "ima_file_mmap has changed"},
		"a traced point":         {func(b *bed) { b.Write(entry("blkdev_mmap"), []byte{0xe8, 1, 2, 3, 4}) }, ""},
		"a point on its way":     {func(b *bed) { b.Write(entry("blkdev_mmap"), []byte{0xcc}) }, ""},
		"a jump at a point":      {func(b *bed) { b.Write(entry("blkdev_mmap"), []byte{0xe9, 1, 2, 3, 4}) }, "the entry of blkdev_mmap holds e9"},
		"another nop at a point": {func(b *bed) { b.Write(entry("ima_update_policy"), []byte{0x90, 0x90, 0x90, 0x90, 0x90}) }, "the entry of ima_update_policy"},
	} {
		for _, successor := range []bool{false, true} {
			b := newBed(t, 0)
			b.e.config.Heartbeat = time.Nanosecond
			b.boot()
			b.run()
			if successor {
				b.e = b.enforcer(b.e.trust.Load())
				b.e.config.Heartbeat = time.Nanosecond
			}
			b.Do(b.pause(), b.after(func() { tt.change(b) }, b.pause()), b.pause())
			err := b.e.Run()
			if tt.says == "" && (err != nil || b.Frozen) {
				t.Errorf("%s, successor %v: %v", name, successor, err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || !b.Frozen || len(b.Events) != 1) {
				t.Errorf("%s, successor %v: %v, want %q", name, successor, err, tt.says)
			}
		}
	}
}

// TestHeartbeatBeforeHit: hits do not postpone heartbeats.
func TestHeartbeatBeforeHit(t *testing.T) {
	value, sum := signed(t, "true")
	b := newBed(t, 0)
	b.e.config.Heartbeat = time.Nanosecond
	b.boot()
	b.Do(b.after(func() { b.Write(kernel.Code[1].Address, []byte{0xcc}) }, b.verification(value, sum)))
	answered := len(b.Answers)
	if err := b.e.Run(); err == nil || !strings.Contains(err.Error(), "security_bprm_check has changed") || !b.Frozen {
		t.Errorf("%v", err)
	}
	if len(b.Answers) != answered+1+len(pinned)+2 {
		t.Errorf("%d answers", len(b.Answers))
	}
}

// TestReset: a vCPU outside the kernel's text is in a module, or it runs another kernel after a
// reset.
func TestReset(t *testing.T) {
	for name, tt := range map[string]struct {
		cs    uint16
		reset bool
		says  string
	}{
		"a module":       {kernelCS, false, ""},
		"user space":     {userCS, true, ""},
		"another kernel": {kernelCS, true, "the guest was reset"},
	} {
		b := newBed(t, 0)
		b.e.config.Heartbeat = time.Nanosecond
		b.boot()
		b.run()
		if tt.reset {
			b.Write(kernel.Variables.Banner, []byte("something else"))
		}
		b.Do(at(mapStart+mapSize-8, tt.cs), b.pause())
		if err := b.e.Run(); (err != nil) != (tt.says != "") || err != nil && (!strings.Contains(err.Error(), tt.says) || len(b.Events) != 1) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnlocked: a kernel that is not locked down does not run its first program, unless that was
// accepted.
func TestUnlocked(t *testing.T) {
	for _, accepted := range []bool{false, true} {
		b := newBed(t, 0)
		b.e.config.NoLockdown = accepted
		b.setWord(kernel.Variables.LockedDown, 0)
		b.boot()
		err := b.e.Run()
		if accepted && err != nil {
			t.Errorf("accepted: %v", err)
		}
		if !accepted && (err == nil || !strings.Contains(err.Error(), "lockdown=integrity") || len(b.Answers) != 0) {
			t.Errorf("%v, %d answers", err, len(b.Answers))
		}
	}
}

// TestLimits: the guest must put its policy in force, and then leave the initramfs, in time.
func TestLimits(t *testing.T) {
	slow := func(b *bed) guesttest.Event { return b.after(func() { b.e.ran += time.Minute }, b.pause()) }
	for name, tt := range map[string]struct {
		start, initramfs time.Duration
		boot             bool
		says             string
	}{
		"no policy":               {time.Second, 0, false, "its IMA policy is not in force"},
		"no policy in time":       {time.Hour, 0, false, ""},
		"no limit":                {0, 0, false, ""},
		"in the initramfs":        {0, time.Second, true, "only programs of the initramfs"},
		"in time":                 {time.Second, time.Hour, true, ""},
		"the initramfs, no limit": {time.Second, 0, true, ""},
	} {
		b := newBed(t, 0)
		b.e.config.Heartbeat, b.e.config.StartLimit, b.e.config.InitramfsLimit = time.Nanosecond, tt.start, tt.initramfs
		if tt.boot {
			b.boot()
		}
		b.Do(at(text+0x5000, kernelCS), slow(b), b.pause())
		err := b.e.Run()
		switch {
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || !b.Frozen):
			t.Errorf("%s: %v", name, err)
		case tt.says == "" && tt.boot && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.says == "" && !tt.boot && !errors.Is(err, ErrNeverGuarded):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUntilBeat: a time limit is noticed in time, however rare heartbeats are.
func TestUntilBeat(t *testing.T) {
	b := newBed(t, 0)
	b.e.config.Heartbeat, b.e.config.StartLimit, b.e.config.InitramfsLimit = 24*time.Hour, time.Minute, time.Second
	for phase, most := range map[phase]time.Duration{booting: time.Minute, policyComplete: time.Minute, enforcing: time.Second, initramfsLeft: 24 * time.Hour} {
		b.e.saved.Phase = phase
		if got := b.e.untilBeat(); got <= 0 || got > most+1 {
			t.Errorf("%s: %v, at most %v", phaseNames[phase], got, most)
		}
	}
	b.e.saved.Phase, b.e.ran = booting, time.Hour
	if got := b.e.untilBeat(); got != 1 {
		t.Errorf("after the limit: %v", got)
	}
}
