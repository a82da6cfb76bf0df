package signer

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"runtime"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// Action is what is to be done with a file. Stronger actions are greater: of
// several that the names of one inode ask for, the greatest holds.
type Action int

const (
	ActionSkip Action = iota // leave the file and its label alone
	ActionHash               // label with a digest, for files that the guest must be able to change
	ActionSign               // label with a signature
)

// String gives the word that rules use for the action.
func (a Action) String() string {
	switch a {
	case ActionSkip:
		return "skip"
	case ActionHash:
		return "hash"
	case ActionSign:
		return "sign"
	}
	return fmt.Sprintf("action %d", int(a))
}

// Reuse offers labels that were made before. The value is the whole label; it is
// verified before it is used, and one that does not fit is passed over. Value may
// be called concurrently.
type Reuse interface {
	Value(digest []byte, id ima.KeyID, hash ima.HashID) (value []byte, ok bool)
}

// Options tell Sign what to do. Key, KeyID and Hash are required.
type Options struct {
	Key   crypto.Signer // an RSA key; must be safe for concurrent use
	KeyID ima.KeyID     // written into each label
	Hash  ima.HashID    // SHA-256, SHA-384 or SHA-512

	// Bits is the size of a key that is not at hand, for a dry run without Key. Then no
	// label is known to be the right one.
	Bits int

	// Action decides by the names of a file. Nil signs everything.
	Action func(paths []string) Action

	Reuse Reuse // may be nil

	// Listed is called with all files before the first is read; an error ends the
	// run. May be nil.
	Listed func([]File) error

	// KeepValid leaves a file alone whose signature verifies by a key of this store,
	// whatever its action would do to it. May be nil.
	KeepValid *keys.TrustStore

	// Jobs is how many files are read, and how many digests are signed, at a
	// time. 0 stands for the number of processors that Go may use.
	Jobs int

	// KeepGoing collects the errors of single files in the report and goes on
	// with the others. Without it the first error ends the run and nothing is
	// committed, as befits an image. A *FatalError ends the run in either case.
	KeepGoing bool

	// DryRun reads and compares, but neither uses the private key nor calls
	// SetLabel or Commit. The records of files that would need a new signature
	// have no value; ValueSize says how long it will be.
	DryRun bool

	// Progress is called often, from one goroutine at a time. May be nil.
	Progress func(Progress)
}

// ValueSize is the length of each label that holds a signature of this key.
func (o *Options) ValueSize() int {
	if o.Key == nil {
		return ValueSize(o.Bits)
	}
	pub, ok := o.Key.Public().(*rsa.PublicKey)
	if !ok {
		return 0
	}
	return ValueSize(pub.N.BitLen())
}

// ValueSize is the length of each label that holds a signature of an RSA key of so many
// bits.
func ValueSize(bits int) int {
	v, err := ima.SignatureV2(ima.SHA256, ima.KeyID{}, make([]byte, (bits+7)/8)).Append(nil)
	if err != nil {
		return 0
	}
	return len(v)
}

// digestLabelSize is the length of each label that holds a digest alone.
func (o *Options) digestLabelSize() int {
	v, err := ima.DigestValue(o.Hash, make([]byte, o.Hash.Size())).Append(nil)
	if err != nil {
		return 0
	}
	return len(v)
}

func (o *Options) action(f *File) Action {
	if o.Action == nil {
		return ActionSign
	}
	return o.Action(f.Paths)
}

// jobs is how many of so many files are worked on at a time.
func jobs(n, files int) int {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return min(n, files)
}

// CheckHash refuses hashes that this project does not sign with.
func CheckHash(h ima.HashID) error {
	switch h {
	case ima.SHA256, ima.SHA384, ima.SHA512:
		return nil
	}
	return fmt.Errorf("%v is not used for labels: choose sha256, sha384 or sha512", h)
}

// publicSide gives the key's public half as a trust store of one.
func publicSide(key crypto.Signer, id ima.KeyID) (*keys.TrustStore, error) {
	if key == nil {
		return nil, errors.New("no signing key")
	}
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("signing key is a %T, want RSA", key.Public())
	}
	p, err := keys.NewPublicKey(pub)
	if err != nil {
		return nil, err
	}
	p.ID = id
	return keys.NewTrustStore(p)
}
