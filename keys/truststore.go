package keys

import (
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/keys/trust"
)

// TrustStore is a trust.Store that can also be written, and that verifies ima.Values.
type TrustStore struct{ *trust.Store }

// NewTrustStore returns a store with copies of the keys. It fails if trust.New does, or if a key
// could not be written.
func NewTrustStore(keys ...*PublicKey) (*TrustStore, error) {
	var all []PublicKey
	for i, k := range keys {
		if k == nil {
			return nil, fmt.Errorf("trust store: key %d: no key", i+1)
		}
		if err := checkValidity(k); err != nil {
			return nil, fmt.Errorf("trust store: key %d: %v: %w", i+1, k.ID, err)
		}
		all = append(all, *k)
	}
	s, err := trust.New(all...)
	if err != nil {
		return nil, err
	}
	return &TrustStore{s}, nil
}

// Keys returns copies of all keys in the order of the store.
func (t *TrustStore) Keys() (keys []*PublicKey) {
	for _, k := range t.Store.Keys() {
		keys = append(keys, &k)
	}
	return keys
}

func checkValidity(k *PublicKey) error {
	for _, t := range []time.Time{k.NotBefore, k.NotAfter} {
		if t.IsZero() {
			continue
		}
		if t.Nanosecond() != 0 || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
			return errors.New("validity is not in whole seconds of the years 1 to 9999")
		}
	}
	return nil
}

// ParseTrustStore parses a store in the form of Append. Only white space may surround the blocks.
func ParseTrustStore(text []byte) (*TrustStore, error) {
	s, err := trust.Parse(text)
	if err != nil {
		return nil, err
	}
	return &TrustStore{s}, nil
}

// Append appends the store's text to b: for each key a PEM block "PUBLIC KEY" with headers for its
// id, and for its name and validity if it has them.
func (t *TrustStore) Append(b []byte) []byte {
	for _, k := range t.Keys() {
		headers := map[string]string{trust.HeaderKeyID: k.ID.String()}
		if k.Name != "" {
			headers[trust.HeaderName] = k.Name
		}
		if !k.NotBefore.IsZero() {
			headers[trust.HeaderNotBefore] = trust.FormatTime(k.NotBefore)
		}
		if !k.NotAfter.IsZero() {
			headers[trust.HeaderNotAfter] = trust.FormatTime(k.NotAfter)
		}
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: trust.PEMType, Headers: headers, Bytes: k.MarshalDER()})...)
	}
	return b
}
