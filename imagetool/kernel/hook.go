package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vmseal/vmseal/formats/profile"
)

// What a function begins with. The kernel turns the call into the nop when it
// starts (ftrace_init_nop, arch/x86/kernel/ftrace.c).
var (
	endbr64 = []byte{0xf3, 0x0f, 0x1e, 0xfa}
	nop5    = []byte{0x0f, 0x1f, 0x44, 0x00, 0x00}
)

const (
	callRel32 = 0xe8
	callSize  = 5
)

// function is what the kernel calls the function of a hook.
func (k *builder) function(hook string) string {
	if hook == "blkdev_mmap" && len(k.symbols.byName[blkdevMmapPrepare]) > 0 {
		return blkdevMmapPrepare
	}
	return hook
}

// hook makes an interception point of a function.
func (k *builder) hook(name string) (profile.Hook, error) {
	if other := k.function(name); other != name {
		if len(k.symbols.byName[name]) > 0 {
			return profile.Hook{}, fmt.Errorf("there are both %s and %s: which one is called is not clear", name, other)
		}
		name = other
	}
	entry, err := k.symbols.entry(name)
	if err != nil {
		return profile.Hook{}, err
	}
	prototype, err := k.types.prototype(name)
	if err != nil {
		return profile.Hook{}, err
	}
	at, err := k.fentry(entry)
	if err != nil {
		return profile.Hook{}, fmt.Errorf("function %s: %w", name, err)
	}
	return profile.Hook{Address: at, Bytes: bytes.Clone(nop5), Prototype: prototype}, nil
}

// hold finds where a fresh guest is held: the instruction behind the nop of sched_init.
func (k *builder) hold(p *profile.Profile) error {
	const name = "sched_init"
	entry, err := k.symbols.entry(name)
	if err != nil {
		return err
	}
	at, err := k.fentry(entry)
	if err != nil {
		return fmt.Errorf("function %s: %w", name, err)
	}
	code, err := k.image.read(at+callSize, profile.HoldSize)
	if err != nil {
		return fmt.Errorf("function %s: %w", name, err)
	}
	p.Hold = profile.Hold{Address: at + callSize, Code: bytes.Clone(code)}
	return nil
}

// fentry finds the nop at the entry of a function, or what will be it.
func (k *builder) fentry(entry uint64) (uint64, error) {
	b, err := k.image.read(entry, len(endbr64)+callSize)
	if err != nil {
		return 0, err
	}
	if bytes.HasPrefix(b, endbr64) {
		b, entry = b[len(endbr64):], entry+uint64(len(endbr64))
	}
	if bytes.HasPrefix(b, nop5) {
		return entry, nil
	}
	if b[0] != callRel32 {
		return 0, ErrNoFentry
	}
	fentry, err := k.symbols.addr("__fentry__")
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoFentry, err)
	}
	distance := int64(int32(binary.LittleEndian.Uint32(b[1:])))
	if entry+callSize+uint64(distance) != fentry {
		return 0, ErrNoFentry
	}
	return entry, nil
}
