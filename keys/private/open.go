package private

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vmseal/vmseal/keys/input"
)

// Errors that a caller can distinguish to give a hint.
var (
	ErrScheme             = errors.New("this build does not support this kind of key reference")
	ErrPassphraseRequired = errors.New("private key is encrypted, but there is no passphrase")
	ErrPassphrase         = errors.New("wrong passphrase")
	ErrEncryption         = errors.New("encryption of the private key is not supported")
	ErrPKCS12             = errors.New("PKCS #12 store is damaged or not supported")
	ErrNotRSA             = errors.New("not an RSA key")
	ErrWeak               = errors.New("key must not be used")
	ErrSeveral            = errors.New("exactly one private key is expected")
	ErrExposed            = errors.New("private key is readable by group or others")
)

// Options are the options of Open.
type Options struct {
	// PassphraseFile is a file with the passphrase. A newline at its end is not part of the
	// passphrase. It takes precedence over Passphrase.
	PassphraseFile string

	// Passphrase returns the passphrase for what prompt names. It is called at most once, and only
	// if the key is encrypted.
	Passphrase func(ctx context.Context, prompt string) ([]byte, error)

	// Warn receives the error of Exposed, which does not make Open fail. It may be nil.
	Warn func(error)
}

// opener opens a key. ref is the reference without its scheme.
type opener func(ctx context.Context, ref string, opt Options) (*Key, error)

// schemes are the kinds of references other than paths of files, by prefix.
var schemes = map[string]opener{
	"env://": openEnv,
}

// foreign are common schemes of other signing tools. Schemes with "//" are recognized without this
// list.
var foreign = []string{"pkcs11:", "tpm2:"}

// Open opens the key that keyref names.
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

// unknownScheme returns the scheme of an unsupported reference. It does not return the rest,
// because PKCS #11 URIs may contain a PIN.
func unknownScheme(keyref string) (string, bool) {
	for _, scheme := range foreign {
		if strings.HasPrefix(keyref, scheme) {
			return scheme, true
		}
	}
	scheme, _, ok := strings.Cut(keyref, "://")
	return scheme + "://", ok
}

// openEnv opens a key in an environment variable. It does not clear the variable.
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

// Exposed returns an error that wraps ErrExposed if path is a regular file that users other than
// its owner can read.
func Exposed(path string) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o044 == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w (mode %04o)", path, ErrExposed, info.Mode().Perm())
}
