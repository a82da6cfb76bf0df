package cli

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/keys/private"
)

// OpenKey reaches the private key of that reference. It warns about a file that
// others can read.
func OpenKey(ctx context.Context, out *Output, keyref, passphraseFile string) (*private.Key, error) {
	if err := HideMemory(); err != nil {
		return nil, err
	}
	return private.Open(ctx, keyref, keyOptions(out, passphraseFile))
}

// ParseKey is OpenKey for the text of a file that has been read already.
func ParseKey(ctx context.Context, out *Output, text []byte, path, passphraseFile string) (*private.Key, error) {
	if err := HideMemory(); err != nil {
		return nil, err
	}
	key, err := private.Parse(ctx, text, path, keyOptions(out, passphraseFile))
	if err != nil {
		return nil, err
	}
	if err := private.Exposed(path); err != nil {
		out.Warn(err)
	}
	return key, nil
}

// PublicKey gives the public half of a private key, under the id of the certificate
// that lies beside it, or else of the bare key: if there is none, or, as with evmctl, if
// that certificate has no id.
func PublicKey(key *private.Key) (*keys.PublicKey, error) {
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, private.ErrNotRSA
	}
	if len(key.Certificates) == 0 {
		return keys.NewPublicKey(pub)
	}
	k, err := certs.Of(key.Certificates, pub, WithCommonName)
	if errors.Is(err, certs.ErrNoKeyID) {
		return keys.NewPublicKey(pub)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: taking the key id from the certificate beside the key: %w", key.Name, err)
	}
	return k, nil
}

func keyOptions(out *Output, passphraseFile string) private.Options {
	return private.Options{PassphraseFile: passphraseFile, Passphrase: Passphrase, Warn: out.Warn}
}

// HideMemory keeps a private key from core dumps, and from other processes of
// the same user (PR_SET_DUMPABLE in prctl(2), ptrace_may_access of
// kernel/ptrace.c). The libraries that read and use the key make copies, which
// cannot all be cleared.
func HideMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hiding the memory of the process: %w", err)
	}
	return nil
}
