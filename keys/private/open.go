package private

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vmseal/vmseal/keys/input"
)

// What a caller may want to tell apart, to say what can be done about it.
var (
	ErrScheme             = errors.New("key reference is of a kind that this build does not support")
	ErrPassphraseRequired = errors.New("private key is encrypted, and there is no passphrase")
	ErrPassphrase         = errors.New("wrong passphrase")
	ErrEncryption         = errors.New("private key is encrypted in a way that is not supported")
	ErrPKCS12             = errors.New("PKCS #12 store is damaged, or of a form that is not supported")
	ErrNotRSA             = errors.New("not an RSA key")
	ErrWeak               = errors.New("key must not be used")
	ErrSeveral            = errors.New("one private key is wanted")
	ErrExposed            = errors.New("private key is readable by group or others")
)

// Options says where a passphrase comes from, and where warnings go.
type Options struct {
	// PassphraseFile holds the passphrase; one line end behind it is not part of
	// it. It goes before Passphrase.
	PassphraseFile string

	// Passphrase gives the passphrase for what prompt names. It is asked only
	// when a key is encrypted, and once.
	Passphrase func(ctx context.Context, prompt string) ([]byte, error)

	// Warn is told of what is not right but no reason to stop: what Exposed
	// finds of the file. It may be nil.
	Warn func(error)
}

// opener reaches a key. ref is the reference behind the scheme.
type opener func(ctx context.Context, ref string, opt Options) (*Key, error)

// schemes are the kinds of reference besides the path of a file, each by what it
// begins with.
var schemes = map[string]opener{
	"env://": openEnv,
}

// foreign are schemes that signing tools commonly know. Those with "//" are
// recognized by that.
var foreign = []string{"pkcs11:", "tpm2:"}

// Open reaches the key that keyref names.
func Open(ctx context.Context, keyref string, opt Options) (*Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if keyref == "" {
		return nil, errors.New("empty key reference")
	}
	for prefix, open := range schemes {
		if ref, ok := strings.CutPrefix(keyref, prefix); ok {
			return open(ctx, ref, opt)
		}
	}
	if scheme, ok := unknownScheme(keyref); ok {
		return nil, fmt.Errorf("%w: %q", ErrScheme, scheme)
	}
	return openFile(ctx, keyref, opt)
}

// unknownScheme does not give back what follows the scheme: PKCS #11 URIs may
// carry a PIN.
func unknownScheme(keyref string) (string, bool) {
	for _, scheme := range foreign {
		if strings.HasPrefix(keyref, scheme) {
			return scheme, true
		}
	}
	scheme, _, ok := strings.Cut(keyref, "://")
	return scheme + "://", ok
}

// openEnv cannot clear the variable itself, which is the caller's choice of place.
func openEnv(ctx context.Context, name string, opt Options) (*Key, error) {
	text := []byte(os.Getenv(name))
	if len(text) == 0 {
		return nil, fmt.Errorf("environment variable %s is unset or empty", name)
	}
	defer clear(text)
	return Parse(ctx, text, "env://"+name, opt)
}

func openFile(ctx context.Context, path string, opt Options) (*Key, error) {
	text, err := input.Read(ctx, path, MaxFile)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	k, err := Parse(ctx, text, path, opt)
	if err != nil {
		return nil, err
	}
	if err := Exposed(path); err != nil && opt.Warn != nil {
		opt.Warn(err)
	}
	return k, nil
}

// Exposed gives an error that wraps ErrExposed if the path is that of a file
// that others than its owner can read.
func Exposed(path string) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o044 == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w (mode %04o)", path, ErrExposed, info.Mode().Perm())
}
