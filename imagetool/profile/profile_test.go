package profile

import (
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/formats/policy"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
	"github.com/vmseal/vmseal/signer"
)

// TestLargestPolicy: every policy that is taken fits into a profile, that with the
// longest rules, and the most that JSON has to escape, too.
func TestLargestPolicy(t *testing.T) {
	const least = "appraise func=BPRM_CHECK appraise_type=imasig\nappraise func=MMAP_CHECK appraise_type=imasig\n" +
		"appraise func=MODULE_CHECK appraise_type=imasig\n"
	longest := "hash #" + strings.Repeat("<", policy.MaxRule-1-len("hash #")) + "\n"
	rules, err := policy.Parse([]byte(least + strings.Repeat(longest, (policy.MaxSize-len(least))/len(longest))))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(rules.Rules()); n < policy.MaxSize/policy.MaxRule {
		t.Fatalf("%d rules only", n)
	}
	vmlinux, err := fakekernel.New("6.1.0-a").ELF()
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(&Kernel{"vmlinux", vmlinux}, Boot{Policy: rules}, signer.Options{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.Open(sealed.File, func(digsig.Signature, []byte) error { return nil })
	if err != nil {
		t.Fatalf("%d bytes: %v", len(sealed.File), err)
	}
	if !slices.Equal(p.Policy, rules.Rules()) {
		t.Error("the rules are others")
	}
}
