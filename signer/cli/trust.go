package cli

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/keys/certs"
)

// TrustFlag is the flag of a command that verifies.
type TrustFlag struct {
	Path string

	cmd *cobra.Command
}

// RegisterOptional adds --trust.
func (t *TrustFlag) RegisterOptional(cmd *cobra.Command) {
	t.cmd = cmd
	cmd.Flags().StringVar(&t.Path, "trust", "", "`file` with a trust store, certificates or public keys")
}

// Register adds --trust, which is required.
func (t *TrustFlag) Register(cmd *cobra.Command) {
	t.RegisterOptional(cmd)
	if err := cmd.MarkFlagRequired("trust"); err != nil {
		panic(err)
	}
}

// Load reads the keys that --trust names.
func (t *TrustFlag) Load() (*keys.TrustStore, error) {
	return certs.LoadTrust(t.cmd.Context(), t.Path, WithCommonName)
}

// LoadIfGiven is Load for a flag that may be missing: there are no keys then.
func (t *TrustFlag) LoadIfGiven() (*keys.TrustStore, error) {
	if !t.cmd.Flags().Changed("trust") {
		return nil, nil
	}
	return t.Load()
}

// WithCommonName names a key after the subject of its certificate, where that is
// a name that a key may have.
func WithCommonName(k *keys.PublicKey, c *x509.Certificate) {
	if keys.CheckName(c.Subject.CommonName) == nil {
		k.Name = c.Subject.CommonName
	}
}

// KeepFlag is the flag of a command that signs for labels that are to be left alone.
type KeepFlag struct {
	Path string

	cmd *cobra.Command
}

// Register adds --keep-valid.
func (k *KeepFlag) Register(cmd *cobra.Command) {
	k.cmd = cmd
	cmd.Flags().StringVar(&k.Path, "keep-valid", "", "leave signatures alone that verify by a key in this `file`")
}

// Load reads the keys that --keep-valid names; nil if it was not given.
func (k *KeepFlag) Load() (*keys.TrustStore, error) {
	if !k.cmd.Flags().Changed("keep-valid") {
		return nil, nil
	}
	store, err := certs.LoadTrust(k.cmd.Context(), k.Path, WithCommonName)
	if errors.Is(err, keys.ErrNotRSA) { // as the labels of Fedora's packages are made with
		err = WithHint(err, "labels by such a key cannot be verified here, but a line 'skip PATH' in a file for --rules leaves them alone")
	}
	if err != nil {
		return nil, fmt.Errorf("--keep-valid: %w", err)
	}
	return store, nil
}
