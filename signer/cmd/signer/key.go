package main

import (
	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer/cli"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make and look at keys",
		Long: `Make keys, look at them, and put public keys together into a trust store.

A label names its key by four bytes, the IMA key id: the last four of the
certificate's subject key identifier, or of SHA-1 over the bare key. Keys made
here have the same id either way.

` + cli.KeyHelp + `

Certificates and public keys may be PEM or DER as well, and several in one file.
A private key is refused where a public one is wanted.`,
	}
	cmd.AddCommand(newKeyNew(), newKeyShow(), newKeyTrust())
	return cmd
}

// keyObject is the "key" object of --json.
type keyObject struct {
	Type        string `json:"type"`
	KeyID       string `json:"key_id"`
	Bits        int    `json:"bits"`
	Fingerprint string `json:"fingerprint"` // SHA-256 over the SubjectPublicKeyInfo
	Name        string `json:"name,omitempty"`
	NotBefore   string `json:"not_before,omitempty"`
	NotAfter    string `json:"not_after,omitempty"`

	// Of a new key only.
	PrivateKey  string `json:"private_key,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	PublicKey   string `json:"public_key,omitempty"`
	TrustStore  string `json:"trust_store,omitempty"`
	Encrypted   *bool  `json:"encrypted,omitempty"`
}

func newKeyObject(k *keys.PublicKey) keyObject {
	return keyObject{
		Type:        "key",
		KeyID:       k.ID.String(),
		Bits:        k.RSA.N.BitLen(),
		Fingerprint: keys.Fingerprint(k),
		Name:        k.Name,
		NotBefore:   date(k.NotBefore),
		NotAfter:    date(k.NotAfter),
	}
}
