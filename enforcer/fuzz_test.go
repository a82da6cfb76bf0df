package enforcer

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/enforcer/guest/guesttest"
	"github.com/vmseal/vmseal/formats/profile"
)

// FuzzHit calls a trapped function with arbitrary registers and memory. Either the call is answered
// or the guest is frozen, and only signed files are allowed.
func FuzzHit(f *testing.F) {
	f.Add(uint8(0), uint64(3), uint64(files), uint64(name), uint64(xattr), uint64(265), []byte{3, 2, 4})
	f.Add(uint8(1), uint64(1), uint64(xattr), uint64(265), uint64(digest), uint64(32), []byte{3, 2, 4})
	f.Add(uint8(2), uint64(rule), uint64(0), uint64(0), uint64(0), uint64(0), []byte("appraise\n"))
	f.Add(uint8(0x43), uint64(1), uint64(xattr), uint64(digest), uint64(32), uint64(4), []byte{3, 3, 4})
	f.Add(uint8(4), uint64(bprm), uint64(0), uint64(0), uint64(0), uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, hook uint8, a, b2, c, d, e uint64, memory []byte) {
		b := newBed(t, 0)
		b.change(func(p *profile.Profile) { // both kinds of kernels
			p.Values.DigsigAlgo, p.Values.AreaArgument = hook&0x40 != 0, uint32(hook>>5&1)
		})
		b.e.config.State = State{} // saving it would take most of the time
		b.boot()
		value, _ := signed(t, "true")
		b.Do(b.appraisal(rootSB, 3, value))
		hooks := []uint64{
			entry("ima_appraise_measurement"), entry("integrity_digsig_verify"),
			entry("ima_parse_add_rule"), entry("ima_update_policy"), entry("security_bprm_check"), entry("blkdev_mmap"),
		}
		r := guest.Registers{RDI: a, RSI: b2, RDX: b2, RCX: c, R8: d, R9: e, RSP: stack, CS: kernelCS,
			RIP: hooks[int(hook)%len(hooks)]}
		if hook&0x80 != 0 {
			r.RDX = c
		}
		b.Do(func(g *guesttest.Guest) (int, guest.Registers) {
			g.Write(xattr, memory)
			g.Write(rule, memory)
			if len(memory) >= 16 {
				g.Write(files+32, binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(memory[8:])))
			}
			return 0, r
		})
		if err := b.e.Run(); err != nil && !b.Frozen && !errors.Is(err, ErrNeverGuarded) {
			t.Fatal("Run returned an error, but the guest is not frozen")
		}
		if last := b.records[len(b.records)-1]; last.Verdict == Allow && last.Hook != "ima_appraise_measurement" {
			t.Fatalf("allowed: %+v", last)
		}
	})
}
