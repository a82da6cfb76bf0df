package cli

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/keys/private"
	"github.com/vmseal/vmseal/signer"
)

// KeyFlags are the flags of a command that signs.
type KeyFlags struct {
	Key            string
	Cert           string
	Hash           string
	PassphraseFile string
	Bits           int // of a key that is not at hand, in a dry run

	keyless bool
}

// KeyHelp says what --key takes.
const KeyHelp = `A private key is a file, or env://VARIABLE with the text of one. It holds one RSA
key of 2048 bits or more as PEM or DER (PKCS #8, PKCS #1) or in a PKCS #12 store,
encrypted or not. Line ends, a byte order mark, text around PEM blocks and base64
around the whole do not matter. A certificate in the same file has to be that of the
key, or a chain with that in it, and gives its key id; --cert FILE names another.`

// Register adds --key, which is required, --cert, --hash and --passphrase-file.
func (k *KeyFlags) Register(cmd *cobra.Command) {
	k.register(cmd)
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err)
	}
}

func (k *KeyFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&k.Key, "key", "", "private key: a PEM, DER or PKCS #12 `file`, or env://VARIABLE")
	f.StringVar(&k.Cert, "cert", "", "take the key id from this certificate `file`, and not from one beside the key")
	f.StringVar(&k.Hash, "hash", "sha256", "sha256, sha384 or sha512")
	f.StringVar(&k.PassphraseFile, "passphrase-file", "", "`file` with the passphrase of the key")
	if err := cmd.RegisterFlagCompletionFunc("hash", cobra.FixedCompletions(
		[]string{"sha256", "sha384", "sha512"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

// Open reaches the key and gives the options that it settles: Key, KeyID and
// Hash. It warns about a key that others can read.
func (k *KeyFlags) Open(ctx context.Context, out *Output) (signer.Options, error) {
	hash, err := k.ParseHash()
	if err != nil {
		return signer.Options{}, err
	}
	if k.Key == "" {
		return signer.Options{}, Usagef("--key: empty")
	}
	key, err := OpenKey(ctx, out, k.Key, k.PassphraseFile)
	if err != nil {
		return signer.Options{}, fmt.Errorf("opening the key: %w", err)
	}
	id, err := k.keyID(ctx, key)
	if err != nil {
		return signer.Options{}, err
	}
	return signer.Options{Key: key, KeyID: id, Hash: hash}, nil
}

// ParseHash gives the hash that --hash names.
func (k *KeyFlags) ParseHash() (ima.HashID, error) {
	hash, err := ima.ParseHash(k.Hash)
	if err == nil {
		err = signer.CheckHash(hash)
	}
	if err != nil {
		return 0, Usagef("--hash: %w", err)
	}
	return hash, nil
}

// keyID takes the id from the certificate, if one is given, and else from the key.
func (k *KeyFlags) keyID(ctx context.Context, key *private.Key) (id ima.KeyID, err error) {
	if k.Cert == "" {
		pub, err := PublicKey(key)
		if err != nil {
			return id, fmt.Errorf("opening the key: %w", err)
		}
		return pub.ID, nil
	}
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return id, fmt.Errorf("opening the key: %w", private.ErrNotRSA)
	}
	cert, err := certs.LoadOf(ctx, k.Cert, pub)
	switch {
	case errors.Is(err, certs.ErrOtherKey):
		return id, fmt.Errorf("%s is not the certificate of key %s", k.Cert, k.Key)
	case err != nil:
		return id, fmt.Errorf("reading the certificate: %w", err)
	}
	return cert.ID, nil
}

// RegisterJobs adds --jobs.
func RegisterJobs(cmd *cobra.Command, jobs *int) {
	cmd.Flags().IntVar(jobs, "jobs", 0, "files to work on at a time (default: the number of processors)")
}

// maxJobs is beyond what any machine has a use for. Each job holds open files and
// a buffer.
const maxJobs = 1024

// CheckJobs refuses what --jobs cannot mean.
func CheckJobs(jobs int) error {
	switch {
	case jobs < 0:
		return Usagef("--jobs: %d is less than none", jobs)
	case jobs > maxJobs:
		return Usagef("--jobs: %d, at most %d are possible", jobs, maxJobs)
	}
	return nil
}

// CheckOutputs keeps outputs, which --force lets replace a file, from being the key
// or what belongs to it.
func (k *KeyFlags) CheckOutputs(outputs ...string) error {
	inputs := []string{k.Key, k.Cert, k.PassphraseFile}
	for _, out := range outputs {
		is, err := statIfThere(out)
		if err != nil {
			return err
		}
		for _, name := range inputs {
			info, err := statIfThere(name)
			if err != nil {
				return err
			}
			if is != nil && info != nil && os.SameFile(is, info) {
				return Usagef("output %s is the key, its certificate or its passphrase", out)
			}
		}
	}
	return nil
}

// statIfThere gives nil for what is not there.
func statIfThere(name string) (os.FileInfo, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}
