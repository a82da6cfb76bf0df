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

const checkAbout = `Check validates the files for 'enforcer run' without touching a guest. It checks that a key
of the trust store signed the profile, and that the trust store and the deny list can be read.
With --kernel and --initrd, it also checks that the guest boots the files that the profile was
made from. --device is checked for its form.`

const maxBoot = 1 << 30 // maximum size of a kernel or initrd

func checkCommand(args []string, out *output) error {
	var f files
	set := flag.NewFlagSet("check", flag.ContinueOnError)
	f.register(set)
	kernel := set.String("kernel", "", "kernel `file` that the guest boots")
	initrd := set.String("initrd", "", "initrd `file` that the guest boots")
	disk := set.String("device", "", "`major:minor` as for 'enforcer run'")
	if err := parse(set, args, out, checkAbout, "profile", "trust"); err != nil {
		return err
	}
	if _, err := parseDevice(*disk); err != nil {
		return err
	}
	trust, err := f.load()
	if err != nil {
		return err
	}
	if err := errors.Join(checkDigest(*kernel, f.profile.Kernel), checkDigest(*initrd, f.profile.Initrd)); err != nil {
		return err
	}
	p, rules, keys, denied := f.profile, len(f.profile.Policy), len(trust.Keys.Keys()), len(trust.Denied)
	out.object(map[string]any{"type": "check", "release": p.Release, "build_id": p.BuildID, "rules": rules, "keys": keys, "denied": denied})
	if !out.json {
		fmt.Fprintf(out.stdout, "kernel: %s, build %s\nrules of the policy: %d\nkeys: %d\ndigests on the deny list: %d\n", p.Release, p.BuildID, rules, keys, denied)
	}
	return nil
}

// checkDigest returns an error unless the file has the SHA-256 in want. An empty path is not
// checked.
func checkDigest(path string, want []byte) error {
	if path == "" {
		return nil
	}
	if len(want) == 0 {
		return fmt.Errorf("%s: the profile has no digest of this file: make the profile with 'imagetool profile --initrd'", path)
	}
	contents, err := enforcer.ReadFile(path, maxBoot, 0)
	if got := sha256.Sum256(contents); err == nil && !bytes.Equal(got[:], want) {
		err = fmt.Errorf("%s: its SHA-256 is %x, but the profile has %x", path, got, want)
	}
	return err
}

const maxDeny = 16 << 20 // about 250,000 digests

// files are the files that guarding a guest needs.
type files struct {
	profilePath, trustPath, denyPath string

	profile *profile.Profile
	pins    string // digest of the signed part of the profile
}

func (f *files) register(s *flag.FlagSet) {
	s.StringVar(&f.profilePath, "profile", "", "profile `file` of the guest's kernel and IMA policy ('imagetool profile')")
	s.StringVar(&f.trustPath, "trust", "", "trust store `file` ('signer key trust'); read again on SIGHUP")
	s.StringVar(&f.denyPath, "deny", "", "`file` with digests to deny, one a line (sha256:HEX; 'signer blob --digests'); read again on SIGHUP")
}

// load reads all files. The profile must be signed by a key of the trust store.
func (f *files) load() (*enforcer.Trust, error) {
	trust, err := f.loadTrust()
	if err != nil {
		return nil, err
	}
	f.profile, err = parseFile(f.profilePath, profile.MaxSize, func(sealed []byte) (*profile.Profile, error) {
		return profile.Open(sealed, func(s digsig.Signature, digest []byte) error {
			f.pins = hex.EncodeToString(digest)
			_, err := trust.Keys.Verify(s, digest)
			return err
		})
	})
	return trust, err
}

// loadTrust reads the files that may change while a guest runs.
func (f *files) loadTrust() (t *enforcer.Trust, err error) {
	t = new(enforcer.Trust)
	t.Keys, err = parseFile(f.trustPath, trust.MaxSize, trust.Parse)
	if errors.Is(err, trust.ErrCertificate) {
		err = fmt.Errorf("%w: make a trust store from it with 'signer key trust'", err)
	}
	if err == nil && f.denyPath != "" {
		t.Denied, err = parseFile(f.denyPath, maxDeny, parseDeny)
	}
	return t, err
}

// parseFile reads and parses a file of at most max bytes.
func parseFile[T any](path string, max int64, parse func([]byte) (T, error)) (v T, err error) {
	text, err := enforcer.ReadFile(path, max, 0)
	if err != nil {
		return v, err
	}
	if v, err = parse(text); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// denySizes maps the names of hashes to the lengths of their digests.
var denySizes = map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}

// parseDeny parses one digest a line, with the name of its hash. A file has a different digest for
// each hash and is denied by the listed digests only. Empty lines and lines that begin with # are
// comments.
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
