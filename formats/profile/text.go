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

	// MaxSize is the maximum size of a file for Open. It is far more than any profile needs, even
	// with escapes in its policy.
	MaxSize = 1 << 19

	maxFunction = 1 << 16 // maximum size of a function in bytes; the relevant ones have some hundreds
)

// Bytes is a byte slice that is written in lower-case hexadecimal.
type Bytes []byte

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

// UnmarshalText is the inverse of MarshalText.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// Marshal returns the text to be signed: the first two lines.
func (p *Profile) Marshal() ([]byte, error) {
	b, err := json.Marshal(p)
	return append(append([]byte(header), b...), '\n'), err
}

// Digest returns the digest that is signed: SHA-512/256 of the text.
func Digest(text []byte) []byte {
	sum := sha512.Sum512_256(text)
	return sum[:]
}

// Verifier verifies a signature over a digest. trust.Store.Verify does, apart from its first
// result.
type Verifier func(s digsig.Signature, digest []byte) error

// Open parses a file. It returns a profile only if verify accepts its signature. Before that it
// parses only the line with the signature.
func Open(file []byte, verify Verifier) (*Profile, error) {
	switch {
	case len(file) > MaxSize:
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(file), MaxSize)
	case !bytes.HasPrefix(file, []byte(family)):
		return nil, errors.New("not a profile")
	case !bytes.HasPrefix(file, []byte(header)):
		return nil, errors.New("the profile does not have format 7: make a new profile from the kernel")
	}
	at := bytes.LastIndex(file, []byte("\n"+sigPrefix)) + 1 // 0 if there is none
	line, ok := bytes.CutSuffix(file[at:], []byte("\n"))
	if at == 0 || !ok {
		return nil, errors.New("the profile is not signed")
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
		return errors.New("not version 2 with sha256")
	}
	return verify(value, digest)
}

// parse parses exactly the form that Marshal writes.
func parse(text []byte) (*Profile, error) {
	p := new(Profile)
	if err := json.Unmarshal(text[len(header):], p); err != nil {
		return nil, err
	}
	if again, err := p.Marshal(); err != nil || !bytes.Equal(again, text) {
		return nil, errors.New("not in canonical form")
	}
	return p, p.check()
}

// check checks what readers rely on without a check of their own. An empty banner, for example,
// would match every kernel. The other values were checked before the profile was signed.
func (p *Profile) check() error {
	if p.Banner == "" || len(p.Hold.Code) != HoldSize || len(p.Policy) == 0 || p.Values.AreaArgument > 1 {
		return errors.New("banner, hold or policy is missing, or an argument is invalid")
	}
	for _, name := range HookNames {
		if len(p.Hooks[name].Bytes) != HookSize || len(p.Hooks) != len(HookNames) {
			return fmt.Errorf("hook %s with %d bytes is missing, or there are other hooks", name, HookSize)
		}
	}
	for _, f := range p.Code {
		for _, s := range f.Patched {
			if f.Size > maxFunction || uint64(s.At)+uint64(s.Size) > uint64(f.Size) {
				return fmt.Errorf("function %s is too large, or a patched place is outside of it", f.Name)
			}
		}
	}
	for i, rule := range p.Policy {
		if rule == "" || len(rule) >= MaxRule || strings.ContainsAny(rule, "\n\x00") {
			return fmt.Errorf("rule %d of the policy is empty, too long or has more than one line", i+1)
		}
	}
	return nil
}
