package main

import (
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/keys/private"
	"github.com/vmseal/vmseal/signer/cli"
)

func newKeyShow() *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use:   "show KEYREF|CERT|PUB|TRUST...",
		Short: "Show key id, size and fingerprint",
		Long: `Show the IMA key id, the size and the fingerprint of keys: private keys (a PEM
file or env://VARIABLE), certificates, public keys, and all keys of a trust
store. The fingerprint is SHA-256 over the SubjectPublicKeyInfo; openssl gives
the same with

  openssl pkey -pubin -in public.pem -outform DER | sha256sum`,
		Example: `  signer key show keys/cert.pem
  signer key show --json trust.pem`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows := [][]string{{"KEY ID", "BITS", "FINGERPRINT", "VALID", "NAME"}}
			for _, arg := range args {
				ks, err := loadAny(cmd, arg, passphraseFile)
				if err != nil {
					return err
				}
				for _, k := range ks {
					cli.Out(cmd).Object(newKeyObject(k))
					rows = append(rows, []string{
						k.ID.String(), strconv.Itoa(k.RSA.N.BitLen()), k.Fingerprint(), validity(k), k.Name})
				}
			}
			cli.Out(cmd).Table(rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`file` with the passphrase of a private key")
	return cmd
}

// loadAny loads a private key if that is what arg names, else public ones.
func loadAny(cmd *cobra.Command, arg, passphraseFile string) ([]*keys.PublicKey, error) {
	if !isPrivate(arg) {
		store, err := certs.LoadTrust(arg, cli.WithCommonName)
		if err != nil {
			return nil, err
		}
		return store.Keys(), nil
	}
	key, err := private.Open(cmd.Context(), arg, private.Options{
		PassphraseFile: passphraseFile,
		Passphrase:     cli.Passphrase,
		Warn:           cli.Out(cmd).Warn,
	})
	if err != nil {
		return nil, err
	}
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s: %w", arg, private.ErrNotRSA)
	}
	k, err := keys.NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", arg, err)
	}
	return []*keys.PublicKey{k}, nil
}

// isPrivate tells by the reference, else by the first PEM block of the file.
func isPrivate(arg string) bool {
	if _, err := os.Stat(arg); err != nil {
		return strings.Contains(arg, ":")
	}
	text, err := os.ReadFile(arg)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(text)
	return block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY")
}

func validity(k *keys.PublicKey) string {
	from, to := date(k.NotBefore), date(k.NotAfter)
	if from == "" && to == "" {
		return "always"
	}
	return from + ".." + to
}

// date gives a moment in UTC, and nothing for an open end.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
