package profile

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/vmseal/vmseal/formats/digsig"
)

const (
	family    = "vmseal-profile "
	header    = family + "2\n"
	sigPrefix = "signature "

	// MaxSize is beyond what any profile takes; Open refuses more.
	MaxSize = 1 << 16

	// minAddress is where addresses of the kernel's image begin
	// (__START_KERNEL_map, arch/x86/include/asm/page_64_types.h).
	minAddress = 0xffffffff80000000

	hookBytes  = 5       // of a fentry nop
	maxPerCPU  = 1 << 24 // the area of one CPU has some 200 KiB
	maxOffset  = 1 << 16 // no structure here is larger
	maxRelease = 128
	maxBanner  = 512
	maxBuildID = 64 // bytes
)

// Bytes are written in lower-case hexadecimal.
type Bytes []byte

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

// UnmarshalText is the inverse of MarshalText.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// Marshal gives the text that is to be signed: the first two lines.
func (p *Profile) Marshal() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return append(append([]byte(header), b...), '\n'), nil
}

// Digest is what the signature covers: SHA-512/256 of the text.
func Digest(text []byte) []byte {
	sum := sha512.Sum512_256(text)
	return sum[:]
}

// Seal gives the whole file: the text of Marshal and the value that signs its Digest.
func Seal(text, value []byte) []byte {
	b := append(bytes.Clone(text), sigPrefix...)
	return append(hex.AppendEncode(b, value), '\n')
}

// Verifier decides about a signature over a digest: trust.Store, with its result left
// out.
type Verifier func(s digsig.Signature, digest []byte) error

// Open reads a whole file, and gives a profile only if verify finds its signature
// good. What it reads before that is the signature's line alone.
func Open(file []byte, verify Verifier) (*Profile, error) {
	p, err := open(file, verify)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return p, nil
}

func open(file []byte, verify Verifier) (*Profile, error) {
	if len(file) > MaxSize {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(file), MaxSize)
	}
	if !bytes.HasPrefix(file, []byte(header)) {
		if bytes.HasPrefix(file, []byte(family)) {
			return nil, errors.New("of another format than 2: a new one has to be made of the kernel")
		}
		return nil, errors.New("not a profile")
	}
	at := bytes.LastIndex(file, []byte("\n"+sigPrefix)) + 1 // 0: there is none
	text := file[:at]
	line, ok := bytes.CutSuffix(file[at:], []byte("\n"))
	if at == 0 || !ok {
		return nil, errors.New("not signed")
	}
	line = line[len(sigPrefix):]
	raw, err := hex.DecodeString(string(line))
	if err != nil || hex.EncodeToString(raw) != string(line) {
		return nil, errors.New("signature: not lower-case hexadecimal")
	}
	value, err := digsig.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if value.Version != 2 || value.Hash != digsig.SHA256 {
		return nil, errors.New("signature: not of version 2 with sha256")
	}
	if err := verify(value, Digest(text)); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return parse(text)
}

// parse reads what Marshal wrote, and nothing else.
func parse(text []byte) (*Profile, error) {
	p := new(Profile)
	if err := json.Unmarshal(text[len(header):], p); err != nil {
		return nil, err
	}
	again, err := p.Marshal()
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if !bytes.Equal(again, text) {
		return nil, errors.New("not in the form in which profiles are written")
	}
	return p, nil
}

// check refuses a profile with something missing, or that cannot be true.
func (p *Profile) check() error {
	switch {
	case p.Release == "" || len(p.Release) > maxRelease || !utf8.ValidString(p.Release):
		return errors.New("release is missing, too long or not text")
	case !isBuildID(p.BuildID):
		return errors.New("build id is missing, too long or not lower-case hexadecimal")
	case p.Banner == "" || len(p.Banner) > maxBanner || !utf8.ValidString(p.Banner):
		return errors.New("banner is missing, too long or not text")
	case p.Text < minAddress || p.TextEnd <= p.Text:
		return fmt.Errorf("text from %#x to %#x is not that of a kernel", p.Text, p.TextEnd)
	}
	if err := p.checkHooks(); err != nil {
		return err
	}
	if h := &p.Hold; h.Address < p.Text || h.Address > 1<<64-1-HoldSize || len(h.Code) != HoldSize {
		return fmt.Errorf("where the guest is held, at %#x, is not in the kernel, or not %d bytes are known", h.Address, HoldSize)
	}
	v, o := &p.Variables, &p.Offsets
	for _, a := range []uint64{v.Banner, v.Appraise, v.PolicyFlag, v.KexecLoadDisabled, v.SystemState, v.RootfsType} {
		if a < p.Text || a > 1<<64-1-maxBanner {
			return fmt.Errorf("variable at %#x is not in the kernel", a)
		}
	}
	if v.XenVCPUInfo >= maxPerCPU && v.XenVCPUInfo < p.Text {
		return fmt.Errorf("xen_vcpu_info at %#x is no variable of each CPU", v.XenVCPUInfo)
	}
	for _, n := range []uint32{o.FileInode, o.InodeSB, o.SBDev, o.SBFlags, o.SBType, o.BinprmFile, o.AreaFlags} {
		if n > maxOffset {
			return fmt.Errorf("offset %d is in no structure", n)
		}
	}
	return p.Values.check()
}

func isBuildID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) > 0 && len(b) <= maxBuildID && hex.EncodeToString(b) == id
}

// checkHooks also makes sure that no hook reaches into another.
func (p *Profile) checkHooks() error {
	hooks := p.Hooks.All()
	for i, h := range hooks {
		if h.Address < p.Text || h.Address > p.TextEnd-hookBytes || len(h.Bytes) != hookBytes || h.Prototype == "" || !utf8.ValidString(h.Prototype) {
			return fmt.Errorf("hook %s is not complete or not in the text", h.Name)
		}
		for _, other := range hooks[:i] {
			if max(h.Address, other.Address)-min(h.Address, other.Address) < hookBytes {
				return fmt.Errorf("hooks %s and %s lie at one place", other.Name, h.Name)
			}
		}
	}
	return nil
}

func (v *Values) check() error {
	seen := map[uint32]string{}
	for name, n := range v.Funcs {
		if !utf8.ValidString(name) {
			return errors.New("the name of a function is not text")
		}
		if other, ok := seen[n]; ok {
			return fmt.Errorf("%s and %s are both %d", name, other, n)
		}
		seen[n] = name
	}
	for _, name := range requiredFuncs {
		if _, ok := v.Funcs[name]; !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	if v.IntegrityPass == v.IntegrityFail || v.SystemRunning == 0 {
		return errors.New("values of integrity_status or system_states are missing")
	}
	return nil
}

// NamedHook is a hook with the name of its function.
type NamedHook struct {
	Name string
	Hook
}

// All lists the hooks by the names of their functions.
func (h *Hooks) All() []NamedHook {
	return []NamedHook{
		{"ima_appraise_measurement", h.AppraiseMeasurement},
		{"integrity_digsig_verify", h.DigsigVerify},
		{"ima_parse_add_rule", h.ParseAddRule},
		{"ima_update_policy", h.UpdatePolicy},
		{"ima_bprm_check", h.BprmCheck},
		{"blkdev_mmap", h.BlockMmap},
	}
}
