package main

import (
	"flag"
	"fmt"
)

const checkAbout = `Check validates what 'enforcer run' would be given, and touches no guest: that the
profile is signed by a key of the trust store, and that trust store and deny list can
be read.`

func checkCommand(args []string, out *output) error {
	var f files
	set := flag.NewFlagSet("check", flag.ContinueOnError)
	f.register(set)
	if err := parse(set, args, out, checkAbout, "profile", "trust"); err != nil {
		return err
	}
	trust, err := f.load()
	if err != nil {
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
