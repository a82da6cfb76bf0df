package profile

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/formats/digsig"
)

const (
	// Format is the number of the format that this package reads and writes.
	Format, family = "7", "vmseal-profile "

	header    = family + Format + "\n"
	sigPrefix = "signature "

	// MaxSize is beyond what any profile takes, whatever JSON has to escape in its
	// policy; Open refuses more.
	MaxSize = 1 << 19

	maxFunction = 1 << 16 // bytes of code; those that matter have some hundreds
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
	b, err := json.Marshal(p)
	return append(append([]byte(header), b...), '\n'), err
}

// Digest is what the signature covers: SHA-512/256 of the text.
func Digest(text []byte) []byte {
	sum := sha512.Sum512_256(text)
	return sum[:]
}

// Verifier decides about a signature over a digest: trust.Store, with its result left
// out.
type Verifier func(s digsig.Signature, digest []byte) error

// Open reads a whole file, and gives a profile only if verify finds its signature
// good. What it reads before that is the signature's line alone.
func Open(file []byte, verify Verifier) (*Profile, error) {
	switch {
	case len(file) > MaxSize:
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(file), MaxSize)
	case !bytes.HasPrefix(file, []byte(family)):
		return nil, errors.New("not a profile")
	case !bytes.HasPrefix(file, []byte(header)):
		return nil, errors.New("a profile of another format than 7: a new one has to be made of the kernel")
	}
	at := bytes.LastIndex(file, []byte("\n"+sigPrefix)) + 1 // 0: there is none
	line, ok := bytes.CutSuffix(file[at:], []byte("\n"))
	if at == 0 || !ok {
		return nil, errors.New("a profile that is not signed")
	}
	text, sig := file[:at], line[len(sigPrefix):]
	if err := checkSignature(sig, Digest(text), verify); err != nil {
		return nil, fmt.Errorf("signature of a profile: %w", err)
	}
	p, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return p, nil
}

func checkSignature(text, digest []byte, verify Verifier) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || hex.EncodeToString(raw) != string(text) {
		return errors.New("not lower-case hexadecimal")
	}
	value, err := digsig.Parse(raw)
	if err != nil {
		return err
	}
	if value.Version != 2 || value.Hash != digsig.SHA256 {
		return errors.New("not of version 2 with sha256")
	}
	return verify(value, digest)
}

// parse reads what Marshal wrote, and nothing else.
func parse(text []byte) (*Profile, error) {
	p := new(Profile)
	if err := json.Unmarshal(text[len(header):], p); err != nil {
		return nil, err
	}
	if again, err := p.Marshal(); err != nil || !bytes.Equal(again, text) {
		return nil, errors.New("not in the form in which profiles are written")
	}
	return p, p.check()
}

// check refuses what its reader relies on without looking: an empty banner would be
// that of every kernel. Whether the rest can be true was looked at before it was signed.
func (p *Profile) check() error {
	if p.Banner == "" || len(p.Hold.Code) != HoldSize || len(p.Policy) == 0 || p.Values.AreaArgument > 1 {
		return errors.New("banner, hold, policy or an argument is missing")
	}
	for _, name := range HookNames {
		if len(p.Hooks[name].Bytes) != HookSize || len(p.Hooks) != len(HookNames) {
			return fmt.Errorf("there is no hook %s with %d bytes, or one too many", name, HookSize)
		}
	}
	for _, f := range p.Code {
		for _, s := range f.Patched {
			if f.Size > maxFunction || uint64(s.At)+uint64(s.Size) > uint64(f.Size) {
				return fmt.Errorf("function %s is too large, or something outside of it is left out", f.Name)
			}
		}
	}
	for i, rule := range p.Policy {
		if rule == "" || len(rule) >= MaxRule || strings.ContainsAny(rule, "\n\x00") {
			return fmt.Errorf("rule %d of the policy is empty, too long or more than a line", i+1)
		}
	}
	return nil
}
