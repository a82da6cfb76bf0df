package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/vmseal/vmseal/enforcer"
	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/formats/policy"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/keys/trust"
)

const (
	maxFile = 1 << 20
	maxDeny = 16 << 20 // some 250,000 digests
)

// files are those that a guest is guarded by.
type files struct {
	profilePath, trustPath, policyPath, denyPath string

	profile *profile.Profile
	policy  *policy.Policy
	pins    string // stands for profile and policy
}

func (f *files) register(s *flag.FlagSet) {
	s.StringVar(&f.profilePath, "profile", "", "`file` that describes the guest's kernel ('imagetool profile')")
	s.StringVar(&f.trustPath, "trust", "", "trust store `file` ('signer key trust'); read again on SIGHUP")
	s.StringVar(&f.policyPath, "policy", "", "IMA policy `file` that the guest must load, as given to 'imagetool initrd'")
	s.StringVar(&f.denyPath, "deny", "", "`file` with digests that no longer count, one in hexadecimal a line; read again on SIGHUP")
}

// load reads all of them. The profile counts only if a key of the trust store has
// signed it.
func (f *files) load() (*enforcer.Trust, error) {
	trust, err := f.loadTrust()
	if err != nil {
		return nil, err
	}
	sealed, err := read(f.profilePath, profile.MaxSize)
	if err != nil {
		return nil, err
	}
	f.profile, err = profile.Open(sealed, func(s digsig.Signature, digest []byte) error {
		_, err := trust.Keys.Verify(s, digest)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.profilePath, err)
	}
	rules, err := read(f.policyPath, maxFile)
	if err != nil {
		return nil, err
	}
	if f.policy, err = policy.Parse(rules); err != nil {
		return nil, fmt.Errorf("%s: %w", f.policyPath, err)
	}
	text, err := f.profile.Marshal()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append(text, strings.Join(f.policy.Rules(), "\n")...))
	f.pins = hex.EncodeToString(sum[:]) // whoever signed the profile, and whatever comments the policy has
	return trust, nil
}

// loadTrust reads what may change while a guest runs.
func (f *files) loadTrust() (*enforcer.Trust, error) {
	text, err := read(f.trustPath, maxFile)
	if err != nil {
		return nil, err
	}
	store, err := trust.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.trustPath, err)
	}
	t := &enforcer.Trust{Keys: store}
	if f.denyPath == "" {
		return t, nil
	}
	if text, err = read(f.denyPath, maxDeny); err != nil {
		return nil, err
	}
	if t.Denied, err = parseDeny(text); err != nil {
		return nil, fmt.Errorf("%s: %w", f.denyPath, err)
	}
	return t, nil
}

// parseDeny reads one digest a line. Empty lines and those that begin with # are for
// people.
func parseDeny(text []byte) (map[string]bool, error) {
	denied := map[string]bool{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		digest, err := hex.DecodeString(string(line))
		if err != nil {
			return nil, fmt.Errorf("line %d: not a digest in hexadecimal", n)
		}
		switch len(digest) {
		case 32, 48, 64:
			denied[string(digest)] = true
		default:
			return nil, fmt.Errorf("line %d: %d bytes are no SHA-256, -384 or -512", n, len(digest))
		}
	}
	return denied, nil
}

// read gives the contents of a regular file of at most max bytes.
func read(path string, max int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // or a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path) // it has to be there for SIGHUP, too
	}
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s: more than %d bytes", path, max)
	}
	return b, nil
}
