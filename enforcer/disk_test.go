package enforcer

import (
	"strings"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// TestSystemDisk: the disk of the first program is checked before that program runs.
func TestSystemDisk(t *testing.T) {
	value, _ := signed(t, "true")
	pinned := NewDevice(254, 1)
	for name, tt := range map[string]struct {
		device   Device
		writable bool
		do       func(b *bed)
		reason   string // "" if it runs
	}{
		"read-only":               {pinned, false, func(*bed) {}, ""},
		"read-only, any":          {0, false, func(*bed) {}, ""},
		"writable":                {pinned, false, func(b *bed) { b.disk(vda, "vda", 7, false) }, "can write to"},
		"writable, any":           {0, false, func(b *bed) { b.disk(vda, "vda", 7, false) }, "can write to"},
		"writable, accepted":      {pinned, true, func(b *bed) { b.disk(vda, "vda", 7, false) }, ""},
		"writable, any, accepted": {0, true, func(b *bed) { b.disk(vda, "vda", 7, false) }, ""},
		"scsi":                    {pinned, false, func(b *bed) { b.disk(vda, "sdaa", 7, true) }, ""},
		"nvme":                    {pinned, false, func(b *bed) { b.disk(vda, "nvme0n1", 7, true) }, ""},
		"xen":                     {pinned, false, func(b *bed) { b.disk(vda, "xvda", 7, true) }, ""},
		"device mapper":           {pinned, false, func(b *bed) { b.disk(vda, "dm-0", 7, true) }, "\"dm-0\", which does not come from the hypervisor"},
		"loop":                    {pinned, true, func(b *bed) { b.disk(vda, "loop0", 7, true) }, "\"loop0\""},
		"md":                      {pinned, true, func(b *bed) { b.disk(vda, "md127", 7, true) }, "\"md127\""},
		"nbd":                     {pinned, true, func(b *bed) { b.disk(vda, "nbd0", 7, true) }, "\"nbd0\""},
		"ram disk":                {pinned, true, func(b *bed) { b.disk(vda, "ram0", 7, true) }, "\"ram0\""},
		"device mapper, any":      {0, false, func(b *bed) { b.disk(vda, "dm-0", 7, true) }, "\"dm-0\""},
		"device mapper, accepted": {0, true, func(b *bed) { b.disk(vda, "dm-0", 7, true) }, ""},
		"no disk":                 {0, false, func(b *bed) { b.super(rootSB, 254<<20|1, 0, 0, heap) }, "has no disk of its own"},
		"no disk, accepted":       {0, true, func(b *bed) { b.super(rootSB, 254<<20|1, 0, 0, heap) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.e.config.Device, b.e.config.Writable = tt.device, tt.writable
			tt.do(b)
			b.boot()
			b.Do(b.appraisal(rootSB, 3, value))
			err := b.e.Run()
			if last := b.records[len(b.records)-1]; tt.reason == "" && (err != nil || last.Verdict != Pass) {
				t.Errorf("%v, %+v", err, last)
			}
			if tt.reason != "" && (err == nil || !strings.Contains(err.Error(), tt.reason) || !b.Frozen || b.saved().Phase == initramfsLeft) {
				t.Errorf("%v, want %q; saved %+v", err, tt.reason, b.saved())
			}
		})
	}
}

// TestExchangedDisk: device numbers and addresses are reused. The disk that they lead to afterwards
// is not the pinned disk. A take-over keeps the pinned disk.
func TestExchangedDisk(t *testing.T) {
	value, _ := signed(t, "true")
	for name, tt := range map[string]struct {
		do     func(b *bed)
		at     uint64
		reason string
	}{
		"the same":              {func(*bed) {}, rootSB, ""},
		"mounted again":         {func(b *bed) { b.super(otherSB, 254<<20|1, vda, 0, heap) }, otherSB, ""},
		"another disk":          {func(b *bed) { b.super(otherSB, 254<<20|1, vdb, 0, heap) }, otherSB, "another disk that was given the number 254:1"},
		"at the super block's":  {func(b *bed) { b.super(rootSB, 254<<20|1, vdb, 0, heap) }, rootSB, "another disk"},
		"at the block device's": {func(b *bed) { b.setPointer(vda-0x800+uint64(kernel.Offsets.BlockDisk), vdb) }, rootSB, "another disk"},
		"at the disk's":         {func(b *bed) { b.disk(vda, "vda", 9, true) }, rootSB, "another disk"},
		"another partition":     {func(b *bed) { b.super(rootSB, 254<<20|2, vda, 0, heap) }, rootSB, "on device 254:2"},
		"unreadable":            {func(b *bed) { b.super(rootSB, 254<<20|1, 1<<40, 0, heap) }, rootSB, "disk: no memory"},
	} {
		for _, successor := range []bool{false, true} {
			b := newBed(t, 0)
			b.e.config.Device = NewDevice(254, 1)
			b.boot()
			b.Do(b.appraisal(rootSB, 3, value))
			b.run()
			if s := b.saved(); s.Disk != 7 {
				t.Fatalf("%s: saved %+v", name, s)
			}
			if successor {
				b.e = b.enforcer(b.e.trust.Load())
				b.e.config.Device = NewDevice(254, 1)
			}
			tt.do(b)
			b.New = false
			b.Do(b.appraisal(tt.at, 3, value))
			_, r := b.run()
			if (r.Verdict == Deny) != (tt.reason != "") || !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("%s, successor %v: %s: %s, want %q", name, successor, r.Verdict, r.Reason, tt.reason)
			}
		}
	}
}

// TestDeniedElsewhere: a program that is denied does not end the initramfs phase.
func TestDeniedElsewhere(t *testing.T) {
	value, _ := signed(t, "true")
	b := newBed(t, 0)
	b.e.config.Device = NewDevice(254, 1)
	b.boot()
	b.Do(b.appraisal(otherSB, 3, value))
	if _, r := b.run(); r.Verdict != Deny || b.saved().Phase != enforcing || b.saved().Disk != 0 {
		t.Errorf("%+v, saved %+v", r, b.saved())
	}
}

// TestRestlessDisk: a disk that changes with each read is not trusted.
func TestRestlessDisk(t *testing.T) {
	b := newBed(t, 0)
	b.boot()
	b.run()
	value, _ := signed(t, "true")
	b.e = b.enforcer(b.e.trust.Load())
	b.e.config.Guest = &restless{b}
	b.Do(b.appraisal(rootSB, 3, value))
	if err := b.e.Run(); err != nil {
		t.Fatal(err)
	}
	if r := b.records[len(b.records)-1]; r.Verdict != Deny || !strings.Contains(r.Reason, "changes") {
		t.Errorf("%+v", r)
	}
}

// restless changes the disk of the system's block device with each read.
type restless struct{ *bed }

func (r *restless) Read(vcpu int, ranges []*guest.Range) error {
	r.setPointer(vda-0x800+uint64(kernel.Offsets.BlockDisk), vdb+uint64(r.Reads))
	return r.Guest.Read(vcpu, ranges)
}
