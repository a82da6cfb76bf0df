package cli

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/signer"
)

// DryHelp says what a dry run takes in place of a private key.
const DryHelp = `--dry-run needs no private key: --cert FILE tells the key for it, or --bits N its size
alone, with which every signature that is there counts as one by another key.`

// RegisterDry is Register for a command that has --dry-run: --key is not required, if
// CheckDry says so.
func (k *KeyFlags) RegisterDry(cmd *cobra.Command) {
	k.register(cmd)
	registerBits(cmd, &k.Bits, 0, "size of the key in `bits`, for a dry run without one")
}

func registerBits(cmd *cobra.Command, bits *int, value int, usage string) {
	cmd.Flags().IntVar(bits, "bits", value, usage)
}

func checkBits(bits int) error {
	if bits < keys.MinBits || bits > keys.MaxBits {
		return Usagef("--bits: %d is not the size of a key that signs: %d to %d", bits, keys.MinBits, keys.MaxBits)
	}
	return nil
}

// CheckDry finds out whether there has to be a private key.
func (k *KeyFlags) CheckDry(cmd *cobra.Command, dryRun bool) error {
	key, bits := cmd.Flags().Changed("key"), cmd.Flags().Changed("bits")
	switch {
	case bits && (key || k.Cert != ""):
		return Usagef("--bits stands in for a key: give it without --key and --cert")
	case key:
		return nil
	case dryRun && k.Cert != "":
		k.keyless = true
		return nil
	case dryRun && bits:
		k.keyless = true
		return checkBits(k.Bits)
	}
	err := Usagef(`required flag(s) "key" not set`)
	if dryRun {
		err = WithHint(err, "a dry run makes do with --cert FILE, or with --bits N for the size of the key")
	}
	return err
}

// OpenDry is Open for such a command. Without a private key there may be none at all: the
// options have its size then.
func (k *KeyFlags) OpenDry(ctx context.Context, out *Output) (signer.Options, error) {
	if !k.keyless {
		return k.Open(ctx, out)
	}
	hash, err := k.ParseHash()
	if err != nil {
		return signer.Options{}, err
	}
	if k.Cert == "" {
		return signer.Options{Bits: k.Bits, Hash: hash}, nil
	}
	pub, err := loadOne(ctx, k.Cert)
	if err != nil {
		return signer.Options{}, fmt.Errorf("reading the certificate: %w", err)
	}
	return signer.Options{Key: publicHalf{pub}, KeyID: pub.ID, Hash: hash}, nil
}

// loadOne reads a file with one certificate or public key.
func loadOne(ctx context.Context, path string) (*keys.PublicKey, error) {
	store, err := certs.LoadTrust(ctx, path, WithCommonName)
	if err != nil {
		return nil, err
	}
	all := store.Keys()
	if len(all) != 1 {
		return nil, fmt.Errorf("%s: %d keys, and only one can be meant", path, len(all))
	}
	return all[0], nil
}

// A publicHalf knows which labels are right, and makes none.
type publicHalf struct{ key *keys.PublicKey }

func (p publicHalf) Public() crypto.PublicKey { return p.key.RSA }

func (p publicHalf) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("there is only the public half of the key")
}

// SizeFlags are the flags of a command that foresees labels, and makes none.
type SizeFlags struct {
	Cert string
	Bits int
}

// defaultBits are those that 'signer key new' makes.
const defaultBits = 2048

// Register adds --cert and --bits.
func (s *SizeFlags) Register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.Cert, "cert", "", "certificate or public key `file` of the key that is to sign")
	registerBits(cmd, &s.Bits, defaultBits, "size in `bits` of the key that is to sign")
	cmd.MarkFlagsMutuallyExclusive("cert", "bits")
}

// Key tells the size of the key, and its id if there is a certificate.
func (s *SizeFlags) Key(ctx context.Context) (bits int, id *ima.KeyID, err error) {
	if s.Cert == "" {
		return s.Bits, nil, checkBits(s.Bits)
	}
	pub, err := loadOne(ctx, s.Cert)
	if err != nil {
		return 0, nil, fmt.Errorf("--cert: %w", err)
	}
	return pub.RSA.N.BitLen(), &pub.ID, nil
}
