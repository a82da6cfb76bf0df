package enforcer

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/enforcer/guest/guesttest"
	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/trust"
)

// The kernel of these tests. Its numbers belong to no real build.
const (
	text     = 0xffffffff81000000
	textEnd  = text + 0x100000
	data     = text + 0x200000
	caller   = text + 0x4242 // a caller of the trapped functions
	heap     = 0xffff888000000000
	kernelCS = 0x10

	lockIntegrity = 20 // LOCKDOWN_INTEGRITY_MAX
)

var (
	nop    = profile.Bytes{0x0f, 0x1f, 0x44, 0, 0}
	kernel = &profile.Profile{
		Release: "6.1.0-test", BuildID: "00", Banner: "Linux version 6.1.0-test\n",
		Text: text, TextEnd: textEnd,
		Hooks: map[string]profile.Hook{},
		Hold:  profile.Hold{Address: data + 0x5005, Code: profile.Bytes("\x55\x48\x89\xe5\x41\x57\x41\x56")},
		Variables: profile.Variables{
			Banner: data, Appraise: data + 0x100, PolicyFlag: data + 0x104, KexecLoadDisabled: data + 0x108,
			SystemState: data + 0x10c, RootfsType: data + 0x200, PossibleCPUs: data + 0x300,
			LockedDown: data + 0x110, Rules: data + 0x118, PhysBase: data + 0x120,
		},
		Offsets: profile.Offsets{
			FileInode: 32, InodeSB: 40, SBDev: 16, SBFlags: 80, SBType: 40, SBBlock: 56, BlockDisk: 8, DiskName: 16, DiskState: 56, DiskSeq: 64,
			BinprmFile: 64, AreaFlags: 24,
		},
		Values: profile.Values{
			Funcs: map[string]uint32{
				"FILE_CHECK": 1, "MMAP_CHECK": 2, "BPRM_CHECK": 3, "MODULE_CHECK": 6, "FIRMWARE_CHECK": 7,
				"KEXEC_KERNEL_CHECK": 8, "KEXEC_INITRAMFS_CHECK": 9, "POLICY_CHECK": 10,
			},
			IntegrityPass: 0, IntegrityFail: 2, SystemRunning: 3, CPUMask: 16, LockIntegrity: lockIntegrity, AreaArgument: 1,
		},
		Code: []profile.Function{
			{Name: "ima_file_mmap", Address: text + 0x9000, Size: 64, Patched: []profile.Span{{At: 4, Size: 5}, {At: 40, Size: 2}, {At: 50, Size: 1}}},
			{Name: "security_bprm_check", Address: text + 0xa000, Size: 5000, Patched: []profile.Span{}},
		},
		Policy: []string{
			"dont_appraise fsmagic=0x9fa0",
			"appraise func=BPRM_CHECK appraise_type=imasig",
			"appraise func=MMAP_CHECK mask=MAY_EXEC appraise_type=imasig",
		},
	}
	pinned = kernel.Policy
)

func init() {
	for i, name := range profile.HookNames {
		kernel.Hooks[name] = profile.Hook{Address: text + 0x1004 + 0x1000*uint64(i), Bytes: nop, Prototype: "f"}
	}
}

// entry returns the address of a function's hook.
func entry(function string) uint64 { return kernel.Hooks[function].Address }

// Addresses of objects in the test kernel.
const (
	stack   = heap + 0x10000
	xattr   = heap + 0x20000
	name    = heap + 0x30000 + 4000 // near the end of its page
	digest  = heap + 0x40000
	rule    = heap + 0x50000
	bprm    = heap + 0x60000
	rootSB  = heap + 0x70000 // 254:1, of the disk vda
	initSB  = heap + 0x71000 // the initramfs
	otherSB = heap + 0x72000 // 254:16, of the disk vdb
	fuseSB  = heap + 0x73000 // 254:1 again, unverifiable
	tmpSB   = heap + 0x74000 // in memory
	vda     = heap + 0x75000
	vdb     = heap + 0x76000
	files   = heap + 0x100000
)

// bed is a guest with the test kernel, and its enforcer.
type bed struct {
	t *testing.T
	*guesttest.Guest
	e       *Enforcer
	slide   uint64
	records []Record
	events  []string
	state   State
}

// change gives this guest a profile of its own.
func (b *bed) change(how func(*profile.Profile)) {
	p := *kernel
	how(&p)
	b.e.config.Profile = &p
}

// saved returns the state that a take-over reads.
func (b *bed) saved() Saved {
	b.t.Helper()
	s, err := b.state.Load()
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// newBed returns a guest before its first instruction. slide moves the kernel.
func newBed(t *testing.T, slide uint64) *bed {
	b := &bed{t: t, Guest: guesttest.New(), slide: slide, state: State{filepath.Join(t.TempDir(), "state"), "pins"}}
	b.Write(kernel.Variables.Banner+slide, []byte(kernel.Banner))
	for _, h := range kernel.Hooks {
		b.Write(h.Address+slide, nop)
	}
	b.setWord(kernel.Variables.Appraise, 0x79)
	b.setWord(kernel.Variables.PolicyFlag, 0)
	b.setWord(kernel.Variables.KexecLoadDisabled, 1)
	b.setWord(kernel.Variables.SystemState, 0)
	b.setWord(kernel.Variables.LockedDown, lockIntegrity)
	b.setPointer(kernel.Variables.Rules+slide, data+slide+0x400)
	b.setPointer(kernel.Variables.PhysBase+slide, 0x1000000)
	for _, f := range kernel.Code {
		b.Write(f.Address+slide, make([]byte, f.Size))
		for _, s := range f.Patched {
			b.Write(f.Address+slide+uint64(s.At), map[uint32][]byte{1: {0xf0}, 2: {0x66, 0x90}, 5: nop}[s.Size])
		}
	}
	b.setCPUs(1)
	b.setPointer(stack, caller+slide)
	b.disk(vda, "vda", 7, true)
	b.disk(vdb, "vdb", 8, false)
	b.super(rootSB, 254<<20|1, vda, 0, heap)
	b.super(initSB, 2, 0, 0, kernel.Variables.RootfsType+slide)
	b.super(otherSB, 254<<20|16, vdb, 0, heap)
	b.super(fuseSB, 254<<20|1, vda, unverifiable, heap)
	b.super(tmpSB, 5, 0, 0, heap)
	b.Write(name, []byte("/usr/bin/true\x00"))
	b.e = b.enforcer(&Trust{Keys: store(t)})
	return b
}

func (b *bed) enforcer(trust *Trust) *Enforcer {
	return New(Config{
		Guest: b.Guest, Profile: kernel, State: b.state,
		Audit: func(r Record) { b.records = append(b.records, r) },
		Event: func(text string) { b.events = append(b.events, text) },
	}, trust)
}

func (b *bed) setWord(addr uint64, v uint32) {
	b.Write(addr+b.slide, binary.LittleEndian.AppendUint32(nil, v))
}

// setCPUs sets the number of CPUs that the kernel can use.
func (b *bed) setCPUs(n int) {
	mask := make([]byte, kernel.Values.CPUMask)
	for i := range n {
		mask[i/8] |= 1 << (i % 8)
	}
	b.Write(kernel.Variables.PossibleCPUs+b.slide, mask)
}

func (b *bed) setPointer(addr, v uint64) { b.Write(addr, binary.LittleEndian.AppendUint64(nil, v)) }

// disk writes a struct gendisk, and before it the struct block_device that leads to it.
func (b *bed) disk(at uint64, name string, seq uint64, readonly bool) {
	o := &kernel.Offsets
	b.setPointer(at-0x800+uint64(o.BlockDisk), at)
	b.Write(at+uint64(o.DiskName), append([]byte(name), make([]byte, diskName-len(name))...))
	b.setPointer(at+uint64(o.DiskState), 0x10) // GD_ADDED
	if readonly {
		b.setPointer(at+uint64(o.DiskState), 0x10|readOnly)
	}
	b.setPointer(at+uint64(o.DiskSeq), seq)
}

// super writes a struct super_block on a disk, or on none.
func (b *bed) super(at uint64, dev uint32, disk, flags, fsType uint64) {
	o := &kernel.Offsets
	b.setPointer(at+uint64(o.SBBlock), 0)
	if disk != 0 {
		b.setPointer(at+uint64(o.SBBlock), disk-0x800)
	}
	b.Write(at+uint64(o.SBDev), binary.LittleEndian.AppendUint32(nil, dev))
	b.setPointer(at+uint64(o.SBFlags), flags)
	b.setPointer(at+uint64(o.SBType), fsType)
}

// file writes a struct file on a super block.
func (b *bed) file(sb uint64) uint64 {
	f := sb + files - heap
	inode := f + 0x800
	b.setPointer(f+uint64(kernel.Offsets.FileInode), inode)
	b.setPointer(inode+uint64(kernel.Offsets.InodeSB), sb)
	return f
}

// call returns the event that the kernel calls a trapped function.
func (b *bed) call(at uint64, r guest.Registers) guesttest.Event {
	r.RIP, r.RSP, r.CS = at+b.slide, stack, kernelCS
	return func(*guesttest.Guest) (int, guest.Registers) { return 0, r }
}

// boot adds the events from the first program until the complete policy is in force.
func (b *bed) boot() {
	b.Do(b.exec(initSB))
	for _, r := range pinned {
		b.Do(b.addRule(r))
	}
	b.Do(b.call(entry("ima_update_policy"), guest.Registers{}))
	b.Do(b.after(func() { b.setWord(kernel.Variables.PolicyFlag, 4) }, b.appraisal(initSB, 3, nil)))
}

// after returns an event that changes the guest before e happens.
func (b *bed) after(change func(), e guesttest.Event) guesttest.Event {
	return func(g *guesttest.Guest) (int, guest.Registers) {
		change()
		return e(g)
	}
}

func (b *bed) exec(sb uint64) guesttest.Event {
	f := b.file(sb)
	return b.after(func() { b.setPointer(bprm+uint64(kernel.Offsets.BinprmFile), f) },
		b.call(entry("security_bprm_check"), guest.Registers{RDI: bprm}))
}

func (b *bed) addRule(text string) guesttest.Event {
	return b.after(func() { b.Write(rule, []byte(text+"\n\x00")) },
		b.call(entry("ima_parse_add_rule"), guest.Registers{RDI: rule}))
}

func (b *bed) appraisal(sb uint64, fn uint64, value []byte) guesttest.Event {
	r := guest.Registers{RDI: fn, RDX: b.file(sb), RCX: name}
	if value != nil {
		r.R8, r.R9 = xattr, uint64(len(value))
	}
	return b.after(func() { b.Write(xattr, value) }, b.call(entry("ima_appraise_measurement"), r))
}

func (b *bed) verification(value, sum []byte) guesttest.Event {
	return b.after(func() { b.Write(xattr, value); b.Write(digest, sum) },
		b.call(entry("integrity_digsig_verify"), guest.Registers{
			RDI: keyringIMA, RSI: xattr, RDX: uint64(len(value)), RCX: digest, R8: uint64(len(sum)),
		}))
}

// run runs all events, after which the guest ends. It returns the last answer and its record.
func (b *bed) run() (guest.Answer, Record) {
	b.t.Helper()
	if err := b.e.Run(); err != nil && !errors.Is(err, ErrNeverGuarded) {
		b.t.Fatal(err)
	}
	if len(b.Missed) > 0 {
		b.t.Fatalf("passed without a trap: %#x", b.Missed)
	}
	return b.Answers[len(b.Answers)-1], b.records[len(b.records)-1]
}

var keyPair = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func store(t testing.TB) *trust.Store {
	t.Helper()
	pub, err := keys.NewPublicKey(&keyPair().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s, err := keys.NewTrustStore(pub)
	if err != nil {
		t.Fatal(err)
	}
	return s.Store
}

// signed returns a security.ima value with a signature over contents, and the digest of contents.
func signed(t testing.TB, contents string) (value, sum []byte) {
	t.Helper()
	d := sha256.Sum256([]byte(contents))
	sig, err := rsa.SignPKCS1v15(nil, keyPair(), crypto.SHA256, d[:])
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.NewPublicKey(&keyPair().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if value, err = ima.SignatureV2(ima.SHA256, pub.ID, sig).Append(nil); err != nil {
		t.Fatal(err)
	}
	return value, d[:]
}
