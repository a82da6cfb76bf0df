package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/vmseal/vmseal/keys/private"
)

const passphraseVariable = "VMSEAL_PASSPHRASE"

// Passphrase gives the passphrase from the environment, or asks a person on the
// controlling terminal: standard input may be a pipe with the work to be done.
func Passphrase(prompt string) ([]byte, error) {
	if p, ok := os.LookupEnv(passphraseVariable); ok {
		return []byte(p), nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, private.ErrPassphraseRequired
	}
	defer tty.Close()
	fmt.Fprintf(tty, "%s: ", Printable(prompt))
	p, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	return p, err
}

// NewPassphrase gives the passphrase for a new key: the one line of a file if
// one is named, else that of the environment, else none. A person is not asked.
func NewPassphrase(file string) ([]byte, error) {
	if file == "" {
		return []byte(os.Getenv(passphraseVariable)), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading passphrase: %w", err)
	}
	text, _ = bytes.CutSuffix(text, []byte("\n"))
	text, _ = bytes.CutSuffix(text, []byte("\r"))
	switch {
	case len(text) == 0:
		err = errors.New("empty")
	case len(text) > 4<<10:
		err = errors.New("too long")
	case bytes.ContainsAny(text, "\r\n"):
		err = errors.New("more than one line")
	}
	if err != nil {
		return nil, fmt.Errorf("reading passphrase: %s: %w", file, err)
	}
	return text, nil
}
