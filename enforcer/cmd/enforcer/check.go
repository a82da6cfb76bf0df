package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"

	"github.com/vmseal/vmseal/enforcer"
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
	out.object(struct {
		Type    string `json:"type"`
		Release string `json:"release"`
		BuildID string `json:"build_id"`
		Rules   int    `json:"rules"`
		Keys    int    `json:"keys"`
		Denied  int    `json:"denied"`
	}{"check", f.profile.Release, f.profile.BuildID, len(f.profile.Policy), len(trust.Keys.Keys()), len(trust.Denied)})
	if !out.json {
		fmt.Fprintf(out.stdout, "kernel: %s, build %s\nrules of the policy: %d\nkeys: %d\ndigests on the deny list: %d\n",
			f.profile.Release, f.profile.BuildID, len(f.profile.Policy), len(trust.Keys.Keys()), len(trust.Denied))
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
