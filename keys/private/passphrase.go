package private

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	maxPEM        = 64 << 10 // an RSA-8192 key is below 8 KiB
	maxPassphrase = 4 << 10
)

// passphrase asks where Options says, and never gives an empty one.
func (opt Options) passphrase(where string) ([]byte, error) {
	var pass []byte
	var err error
	switch {
	case opt.PassphraseFile != "":
		pass, err = readPassphrase(opt.PassphraseFile)
	case opt.Passphrase != nil:
		pass, err = opt.Passphrase("passphrase for " + where)
	default:
		return nil, ErrPassphraseRequired
	}
	if err != nil {
		return nil, fmt.Errorf("reading passphrase: %w", err)
	}
	if len(pass) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrPassphraseRequired)
	}
	return pass, nil
}

func readPassphrase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readBounded(f, maxPassphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	text, _ = bytes.CutSuffix(text, []byte("\n"))
	text, _ = bytes.CutSuffix(text, []byte("\r"))
	if bytes.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%s: more than one line", path)
	}
	return text, nil
}

func readBounded(r io.Reader, max int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(max)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > max {
		return nil, errors.New("too large")
	}
	return b, nil
}
