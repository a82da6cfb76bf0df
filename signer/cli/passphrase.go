package cli

import (
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
