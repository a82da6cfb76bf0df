package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/keys/private"
	"github.com/vmseal/vmseal/signer/cli"
)

func newKeyShow() *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use:   "show KEYREF|CERT|PUB|TRUST...",
		Short: "Show key id, size and fingerprint",
		Long: `Show the IMA key id, the size and the fingerprint of keys: private keys (a file
or env://VARIABLE), certificates, public keys, and all keys of a trust store or of
any other file with several. The fingerprint is SHA-256 over the
SubjectPublicKeyInfo; openssl gives the same with

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
						k.ID.String(), strconv.Itoa(k.RSA.N.BitLen()), keys.Fingerprint(k), validity(k), k.Name})
				}
			}
			cli.Out(cmd).Table(rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`file` with the passphrase of a private key")
	return cmd
}

// loadAny loads a private key if that is what arg names, by the form of the
// reference or by what the file holds; else public ones.
func loadAny(cmd *cobra.Command, arg, passphraseFile string) ([]*keys.PublicKey, error) {
	ctx, out := cmd.Context(), cli.Out(cmd)
	if _, err := os.Lstat(arg); err != nil && strings.Contains(arg, ":") {
		return publicSide(cli.OpenKey(ctx, out, arg, passphraseFile))
	}
	text, err := input.Read(ctx, arg, private.MaxFile) // once: it may be a pipe
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if private.IsIn(text) {
		return publicSide(cli.ParseKey(ctx, out, text, arg, passphraseFile))
	}
	all, err := certs.Parse(text, cli.WithCommonName)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", arg, err)
	}
	return all, nil
}

// publicSide gives the public half of a private key.
func publicSide(key *private.Key, err error) ([]*keys.PublicKey, error) {
	if err != nil {
		return nil, err
	}
	k, err := cli.PublicKey(key)
	if err != nil {
		return nil, err
	}
	return []*keys.PublicKey{k}, nil
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
