package cli

import (
	"context"
	"errors"
	"os"

	"github.com/vmseal/vmseal/keys/private"
)

const passphraseVariable = "VMSEAL_PASSPHRASE"

// Passphrase gives the passphrase from the environment, or asks a person on the
// controlling terminal: standard input may be a pipe with the work to be done.
func Passphrase(ctx context.Context, prompt string) ([]byte, error) {
	if p, ok, err := passphraseFromEnv(); ok {
		return p, err
	}
	tty, err := openTerminal()
	if err != nil {
		return nil, private.ErrPassphraseRequired
	}
	defer tty.Close()
	return readSecret(ctx, tty, prompt)
}

// NewPassphrase gives the passphrase for a new key: the one line of a file if
// one is named, else that of the environment, else none. A person is not asked.
func NewPassphrase(ctx context.Context, file string) ([]byte, error) {
	if file != "" {
		return private.ReadPassphrase(ctx, file)
	}
	p, _, err := passphraseFromEnv()
	return p, err
}

// passphraseFromEnv takes an empty variable for a mistake, such as a secret that
// a build was not given; a key without a passphrase has to be meant.
func passphraseFromEnv() (p []byte, ok bool, err error) {
	text, ok := os.LookupEnv(passphraseVariable)
	if ok && text == "" {
		return nil, true, errors.New(passphraseVariable + " is set, but empty")
	}
	return []byte(text), ok, nil
}
