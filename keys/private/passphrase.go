package private

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/keys/input"
)

// MaxFile is the maximum size of a key file. It has room for a store with a long chain of
// certificates.
const MaxFile = 1 << 20

const maxPassphrase = 4 << 10

// passphrase returns the passphrase from the source in opt. It is never empty.
func (opt Options) passphrase(ctx context.Context, where string) ([]byte, error) {
	if opt.PassphraseFile != "" {
		return ReadPassphrase(ctx, opt.PassphraseFile)
	}
	if opt.Passphrase == nil {
		return nil, ErrPassphraseRequired
	}
	pass, err := opt.Passphrase(ctx, "passphrase for "+where)
	if err != nil {
		return nil, fmt.Errorf("reading passphrase: %w", err)
	}
	if len(pass) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrPassphraseRequired)
	}
	return pass, nil
}

// ReadPassphrase returns the only line of a file, without its line end. It must not be empty.
func ReadPassphrase(ctx context.Context, path string) ([]byte, error) {
	text, err := input.Read(ctx, path, maxPassphrase)
	if err != nil {
		return nil, fmt.Errorf("reading passphrase: %w", err)
	}
	line, _ := bytes.CutSuffix(text, []byte("\n"))
	line, _ = bytes.CutSuffix(line, []byte("\r"))
	switch {
	case len(line) == 0:
		err = fmt.Errorf("%w: it is empty", ErrPassphraseRequired)
	case bytes.ContainsAny(line, "\r\n"):
		err = errors.New("more than one line")
	}
	if err != nil {
		clear(text)
		return nil, fmt.Errorf("reading passphrase: %s: %w", path, err)
	}
	return line, nil
}
