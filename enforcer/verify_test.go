package enforcer

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/profile"
)

// rejected is -EKEYREJECTED in rax (asm-generic/errno.h: 129).
const rejected = 0xffffffffffffff7f

// TestVerdicts tests the verdicts at integrity_digsig_verify.
func TestVerdicts(t *testing.T) {
	good, sum := signed(t, "true")
	other, otherSum := signed(t, "false")
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	long := append(bytes.Clone(good), bytes.Repeat([]byte{1}, maxValue)...)
	tests := map[string]struct {
		value, digest []byte
		keyring       uint64
		reason        string // "" if it holds
	}{
		"good":              {good, sum, 1, ""},
		"another good":      {other, otherSum, 1, ""},
		"another file's":    {other, sum, 1, "bad signature"},
		"changed":           {good, otherSum, 1, "bad signature"},
		"EVM's keyring":     {good, sum, 0, "keyring 0"},
		"platform keyring":  {good, sum, 2, "keyring 2"},
		"keyring -1":        {good, sum, 1<<64 - 1, "keyring"},
		"foreign key":       {change(3, good[3]^1), sum, 1, "unknown key"},
		"type 4":            {change(0, 4), sum, 1, "type 4"},
		"type 6, version 2": {change(0, 6), sum, 1, "version"},
		"version 1":         {change(1, 1), sum, 1, ""},
		"version 3, type 3": {change(1, 3), sum, 1, "signature of version 3, type 3"},
		"SHA-1":             {change(2, 2), sum, 1, "hash"},
		"SHA-512":           {change(2, 6), sum, 1, "digest"},
		"last byte":         {change(len(good)-1, good[len(good)-1]^1), sum, 1, "bad signature"},
		"cut":               {good[:len(good)-1], sum, 1, "length"},
		"header only":       {good[:9], sum, 1, "header"},
		"one byte":          {good[:1], sum, 1, "1 bytes"},
		"longer":            {append(bytes.Clone(good), 0), sum, 1, "length"},
		"too long":          {long, sum, 1, "signature of"},
		"no signature":      {nil, sum, 1, "signature of"},
		"no digest":         {good, nil, 1, "digest of"},
		"short digest":      {good, sum[:20], 1, "digest"},
		"long digest":       {good, append(bytes.Clone(sum), make([]byte, 64)...), 1, "digest of"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.boot()
			b.Do(b.appraisal(rootSB, 3, good))
			b.Do(b.after(func() { b.Write(xattr, tt.value); b.Write(digest, tt.digest) },
				b.call(entry("integrity_digsig_verify"), guest.Registers{
					RDI: tt.keyring, RSI: xattr, RDX: uint64(len(tt.value)), RCX: digest, R8: uint64(len(tt.digest)),
				})))
			a, r := b.run()
			want := guest.Answer{Return: true, RAX: rejected, RIP: caller, RSP: stack + 8}
			verdict := Deny
			if name == "good" || name == "another good" {
				want.RAX, verdict = 0, Allow
			}
			if a != want || r.Verdict != verdict || !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("answer %+v, record %+v, want %q", a, r, tt.reason)
			}
			if r.Path != "/usr/bin/true" {
				t.Errorf("path %q", r.Path)
			}
		})
	}
}

// TestUnreadable: a signature or digest that cannot be read is denied.
func TestUnreadable(t *testing.T) {
	for name, r := range map[string]guest.Registers{
		"signature": {RDI: 1, RSI: 8, RDX: 265, RCX: digest, R8: 32},
		"digest":    {RDI: 1, RSI: xattr, RDX: 265, RCX: 8, R8: 32},
		"negative":  {RDI: 1, RSI: xattr, RDX: 1<<64 - 1, RCX: digest, R8: 32},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			value, sum := signed(t, "true")
			b.Write(xattr, value)
			b.Write(digest, sum)
			b.boot()
			b.Do(b.appraisal(rootSB, 3, value), b.call(entry("integrity_digsig_verify"), r))
			if a, rec := b.run(); rec.Verdict != Deny || a.RAX != rejected {
				t.Errorf("%+v, answer %+v", rec, a)
			}
		})
	}
}

// TestVerity: a version 3 signature is over the digest of struct ima_file_id.
func TestVerity(t *testing.T) {
	root := sha256.Sum256([]byte("a Merkle tree's root"))
	id, err := ima.FileID(ima.SHA256, root[:])
	if err != nil {
		t.Fatal(err)
	}
	value, sum := signed(t, string(id))
	value[0], value[1] = 6, 3
	b := newBed(t, 0)
	b.boot()
	b.Do(b.appraisal(rootSB, 3, value), b.verification(value, sum))
	if a, r := b.run(); r.Verdict != Allow || a.RAX != 0 {
		t.Errorf("%+v, answer %+v", r, a)
	}
}

// TestFileDigest: since Linux 7.1 the kernel passes the digest of the file for version 3, too, and
// regular files may have version 3 signatures.
func TestFileDigest(t *testing.T) {
	file := sha256.Sum256([]byte("true"))
	covered := func(kind byte) ([]byte, []byte) { // a signature over the file, and the signed digest
		value, sum := signed(t, string(append([]byte{kind, 4}, file[:]...)))
		value[0], value[1] = kind, 3
		return value, sum
	}
	regular, regularID := covered(3)
	verity, verityID := covered(6)
	v2, _ := signed(t, "true")
	swapped := bytes.Clone(verity)
	swapped[0] = 3
	for name, tt := range map[string]struct {
		value, digest []byte
		algo          uint64
		denied        []byte
		reason        string // "" if it holds
	}{
		"version 2":                  {v2, file[:], 4, nil, ""},
		"version 2, any hash":        {v2, file[:], 6, nil, ""}, // only the length must fit
		"regular file":               {regular, file[:], 4, nil, ""},
		"garbage above the hash":     {regular, file[:], 0xabcdef04, nil, ""},
		"fs-verity":                  {verity, file[:], 4, nil, ""},
		"another hash":               {regular, file[:], 5, nil, "version 3, type 3 and hash 4 does not fit a digest of hash 5"},
		"hash 0":                     {verity, file[:], 0, nil, "does not fit a digest of hash 0"},
		"type changed":               {swapped, file[:], 4, nil, "bad signature"},
		"digest of the older kernel": {verity, verityID, 4, nil, "bad signature"},
		"short digest":               {regular, file[:20], 4, nil, "20 bytes"},
		"file denied":                {regular, file[:], 4, file[:], "deny list"},
		"what is signed denied":      {regular, file[:], 4, regularID, "deny list"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 0)
			b.change(func(p *profile.Profile) { p.Values.DigsigAlgo = true })
			b.e.SetTrust(&Trust{Keys: store(t), Denied: map[string]bool{string(tt.denied): true}})
			b.boot()
			r := guest.Registers{RDI: keyringIMA, RSI: xattr, RDX: uint64(len(tt.value)), RCX: digest, R8: uint64(len(tt.digest)), R9: tt.algo}
			b.Do(b.appraisal(rootSB, 3, tt.value), b.after(func() { b.Write(digest, tt.digest) }, b.call(entry("integrity_digsig_verify"), r)))
			want := Allow
			if tt.reason != "" {
				want = Deny
			}
			if _, rec := b.run(); rec.Verdict != want || !strings.Contains(rec.Reason, tt.reason) {
				t.Errorf("%+v, want %q", rec, tt.reason)
			}
		})
	}
}

// TestTrustChanges: a key that leaves the trust store, or a digest on the deny list, is denied from
// the next hit on.
func TestTrustChanges(t *testing.T) {
	value, sum := signed(t, "true")
	other, otherSum := signed(t, "false")
	b := newBed(t, 0)
	b.boot()
	b.Do(b.appraisal(rootSB, 3, value), b.verification(value, sum))
	b.Do(b.after(func() {
		b.e.SetTrust(&Trust{Keys: store(t), Denied: map[string]bool{string(sum): true}})
	}, b.verification(value, sum)), b.verification(other, otherSum))
	if err := b.e.Run(); err != nil {
		t.Fatal(err)
	}
	got := b.records[len(b.records)-3:]
	for i, want := range []Verdict{Allow, Deny, Allow} {
		if got[i].Verdict != want {
			t.Errorf("hit %d: %s (%s), want %s", i+1, got[i].Verdict, got[i].Reason, want)
		}
	}
}

// TestPendingIsBounded: the number of pending files is bounded, and the newest one is never
// dropped.
func TestPendingIsBounded(t *testing.T) {
	e := newBed(t, 0).e
	for xattr := range uint64(10 * maxPending) {
		file := Record{Path: fmt.Sprint(xattr)}
		e.addPending(xattr, file)
		if n := uint64(len(e.pending)); n != min(xattr+1, maxPending) || e.pending[xattr] != file {
			t.Fatalf("after %d files %d are pending", xattr+1, n)
		}
	}
}
