package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"

	"github.com/vmseal/vmseal/enforcer"
	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/keys/trust"
)

const checkAbout = `Check validates what 'enforcer run' would be given, and touches no guest: that the
profile is signed by a key of the trust store, and that trust store and deny list can
be read. With --kernel and --initrd it compares the files that the guest is booted with
with those that the profile was made of.`

const maxBoot = 1 << 30 // of a kernel or an initrd

func checkCommand(args []string, out *output) error {
	var f files
	set := flag.NewFlagSet("check", flag.ContinueOnError)
	f.register(set)
	kernel := set.String("kernel", "", "`file` that the guest's kernel is booted from")
	initrd := set.String("initrd", "", "`file` that its initrd is booted from")
	if err := parse(set, args, out, checkAbout, "profile", "trust"); err != nil {
		return err
	}
	trust, err := f.load()
	if err != nil {
		return err
	}
	if err := errors.Join(same(*kernel, f.profile.Kernel), same(*initrd, f.profile.Initrd)); err != nil {
		return err
	}
	p, rules, keys, denied := f.profile, len(f.profile.Policy), len(trust.Keys.Keys()), len(trust.Denied)
	out.object(map[string]any{"type": "check", "release": p.Release, "build_id": p.BuildID, "rules": rules, "keys": keys, "denied": denied})
	if !out.json {
		fmt.Fprintf(out.stdout, "kernel: %s, build %s\nrules of the policy: %d\nkeys: %d\ndigests on the deny list: %d\n", p.Release, p.BuildID, rules, keys, denied)
	}
	return nil
}

// same wants a file, if one is named, to have the SHA-256 that the profile says.
func same(path string, want []byte) error {
	if path == "" {
		return nil
	}
	if len(want) == 0 {
		return fmt.Errorf("%s: the profile does not say which it is: make it with 'imagetool profile --initrd'", path)
	}
	contents, err := enforcer.ReadFile(path, maxBoot, 0)
	if got := sha256.Sum256(contents); err == nil && !bytes.Equal(got[:], want) {
		err = fmt.Errorf("%s: its SHA-256 is %x, and the profile says %x", path, got, want)
	}
	return err
}

const maxDeny = 16 << 20 // some 250,000 digests

// files are those that a guest is guarded by.
type files struct {
	profilePath, trustPath, denyPath string

	profile *profile.Profile
	pins    string // the digest of what is signed in the profile, whoever signed it
}

func (f *files) register(s *flag.FlagSet) {
	s.StringVar(&f.profilePath, "profile", "", "`file` that says what kernel and IMA policy the guest has ('imagetool profile')")
	s.StringVar(&f.trustPath, "trust", "", "trust store `file` ('signer key trust'); read again on SIGHUP")
	s.StringVar(&f.denyPath, "deny", "", "`file` with digests that no longer count, one a line (sha256:HEX; 'signer blob --digests'); read again on SIGHUP")
}

// load reads all of them. The profile counts only if a key of the trust store has
// signed it.
func (f *files) load() (*enforcer.Trust, error) {
	trust, err := f.loadTrust()
	if err != nil {
		return nil, err
	}
	f.profile, err = parsed(f.profilePath, profile.MaxSize, func(sealed []byte) (*profile.Profile, error) {
		return profile.Open(sealed, func(s digsig.Signature, digest []byte) error {
			f.pins = hex.EncodeToString(digest)
			_, err := trust.Keys.Verify(s, digest)
			return err
		})
	})
	return trust, err
}

// loadTrust reads what may change while a guest runs.
func (f *files) loadTrust() (t *enforcer.Trust, err error) {
	t = new(enforcer.Trust)
	t.Keys, err = parsed(f.trustPath, trust.MaxSize, trust.Parse)
	if errors.Is(err, trust.ErrCertificate) {
		err = fmt.Errorf("%w: make a trust store of it with 'signer key trust'", err)
	}
	if err == nil && f.denyPath != "" {
		t.Denied, err = parsed(f.denyPath, maxDeny, parseDeny)
	}
	return t, err
}

// parsed is what a file of at most max bytes says.
func parsed[T any](path string, max int64, parse func([]byte) (T, error)) (v T, err error) {
	text, err := enforcer.ReadFile(path, max, 0)
	if err != nil {
		return v, err
	}
	if v, err = parse(text); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// denySizes are the lengths of digests by the names of the hashes.
var denySizes = map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}

// parseDeny reads one digest a line, with the hash that it is of: a file has another digest by
// each, and is denied by those alone that stand here. Empty lines and those that begin with #
// are for people.
func parseDeny(text []byte) (map[string]bool, error) {
	denied := map[string]bool{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, digits, _ := bytes.Cut(line, []byte(":"))
		size := denySizes[string(name)]
		digest, err := hex.DecodeString(string(digits))
		if size == 0 || err != nil || len(digest) != size {
			return nil, fmt.Errorf("line %d: not a digest with its hash: sha256:HEX, sha384:HEX or sha512:HEX", n)
		}
		denied[string(digest)] = true
	}
	return denied, nil
}
