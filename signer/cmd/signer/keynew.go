package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/keys/private"
	"github.com/vmseal/vmseal/signer/cli"
)

func newKeyNew() *cobra.Command {
	var dir, passphraseFile string
	var opt private.GenerateOptions
	cmd := &cobra.Command{
		Use:   "new --out DIR",
		Short: "Make a key",
		Long: `Make an RSA key and write it into DIR, which is made if there is none:

  private.pem   the private key (PKCS #8), readable by its owner alone
  cert.pem      a self-signed certificate, for evmctl and kernel keyrings
  public.pem    the public key
  trust.pem     a trust store with this key alone

No existing file is replaced. The private key is encrypted if there is a
passphrase: the one line of --passphrase-file, or VMSEAL_PASSPHRASE.`,
		Example: `  signer key new --out keys
  signer key new --out keys --bits 4096 --name "Image builds 2026" --passphrase-file pass.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opt.Bits != 2048 && opt.Bits != 3072 && opt.Bits != 4096 {
				return cli.Usagef("--bits: %d, want 2048, 3072 or 4096", opt.Bits)
			}
			pass, err := cli.NewPassphrase(cmd.Context(), passphraseFile)
			if err != nil {
				return err
			}
			defer clear(pass)
			if err := cli.HideMemory(); err != nil {
				return err
			}
			opt.Passphrase = pass
			return keyNew(cli.Out(cmd), dir, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "out", "", "`folder` for the new files")
	f.IntVar(&opt.Bits, "bits", 2048, "2048, 3072 or 4096")
	f.StringVar(&opt.Name, "name", private.DefaultName, "common name in the certificate")
	f.StringVar(&passphraseFile, "passphrase-file", "", "`file` with a passphrase to encrypt the key with")
	must(cmd.MarkFlagRequired("out"))
	must(cmd.RegisterFlagCompletionFunc("bits", cobra.FixedCompletions(
		[]string{"2048", "3072", "4096"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func keyNew(out *cli.Output, dir string, opt private.GenerateOptions) error {
	pub, err := private.Generate(dir, opt)
	if err != nil {
		return err
	}
	encrypted := len(opt.Passphrase) > 0
	object := newKeyObject(pub)
	object.Name = opt.Name
	object.PrivateKey = cli.Escape(filepath.Join(dir, private.PrivateFile))
	object.Certificate = cli.Escape(filepath.Join(dir, private.CertificateFile))
	object.PublicKey = cli.Escape(filepath.Join(dir, private.PublicFile))
	object.TrustStore = cli.Escape(filepath.Join(dir, private.TrustFile))
	object.Encrypted = &encrypted
	out.Object(object)

	state := "not encrypted"
	if encrypted {
		state = "encrypted"
	}
	out.Table([][]string{
		{"key id", pub.ID.String()},
		{"private key", object.PrivateKey + " (" + state + ")"},
		{"certificate", object.Certificate},
		{"public key", object.PublicKey},
		{"trust store", object.TrustStore},
	})
	return nil
}
