package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/signer/cli"
)

func newKeyTrust() *cobra.Command {
	var path string
	var dates bool
	cmd := &cobra.Command{
		Use:   "trust --out FILE CERT|PUB|TRUST...",
		Short: "Put public keys together into a trust store",
		Long: `Write a trust store: the public keys that "verify" and the enforcer accept, each
with its IMA key id, and with the name of its certificate. The arguments are
certificates, public keys, and other trust stores, also several in one file. A
chain of certificates is refused: name only the one whose key signs files. What
several files say of the same key counts once. No existing file is replaced.

By default a key verifies for ever, as in the kernel, which does not look at the
dates of a certificate. With --dates it verifies from notBefore to notAfter.`,
		Example: `  signer key trust --out trust.pem keys/cert.pem
  signer key trust --out trust.pem old-trust.pem next/cert.pem`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts := []certs.Option{cli.WithCommonName}
			if dates {
				opts = append(opts, certs.WithDates())
			}
			return keyTrust(cmd, path, args, opts)
		},
	}
	cmd.Flags().StringVar(&path, "out", "", "`file` to write")
	cmd.Flags().BoolVar(&dates, "dates", false, "take over the dates of certificates")
	must(cmd.MarkFlagRequired("out"))
	return cmd
}

func keyTrust(cmd *cobra.Command, path string, args []string, opts []certs.Option) error {
	var all []*keys.PublicKey
	for _, arg := range args {
		store, err := certs.LoadTrust(cmd.Context(), arg, opts...)
		if err != nil {
			return err
		}
		all = append(all, store.Keys()...)
	}
	all = certs.Distinct(all)
	store, err := keys.NewTrustStore(all...)
	if err != nil {
		return err
	}
	if err := writeNew(path, store.Append(nil)); err != nil {
		return err
	}
	out := cli.Out(cmd)
	for _, k := range store.Keys() {
		out.Object(newKeyObject(k))
	}
	out.Infof("%s: %s\n", cli.EscapeName(path), cli.Count(len(all), "key"))
	return nil
}

// writeNew makes a file that did not exist, whole and durable, or none.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
