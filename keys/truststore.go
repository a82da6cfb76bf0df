package keys

import (
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmseal/vmseal/formats/ima"
)

// maxTrustStore bounds the text of a trust store; it has room for a thousand keys.
const maxTrustStore = 1 << 20

// The PEM headers of a key in a trust store.
const (
	headerKeyID     = "IMA-Key-Id"
	headerName      = "Name"
	headerNotBefore = "Not-Before"
	headerNotAfter  = "Not-After"
)

// TrustStore is a set of keys, no two with the same id. It does not change, and
// may be used by several goroutines at once.
type TrustStore struct {
	keys []*PublicKey // in the order given
	byID map[ima.KeyID]*PublicKey
}

// NewTrustStore makes a store of copies of the keys, and refuses what could make
// it ambiguous: an id that stands for two keys, and a key that stands in it
// twice (with two ids, its validity could be chosen by whoever writes the id).
func NewTrustStore(keys ...*PublicKey) (*TrustStore, error) {
	t := &TrustStore{byID: make(map[ima.KeyID]*PublicKey)}
	if len(keys) == 0 {
		return nil, errors.New("trust store: no keys")
	}
	seen := make(map[string]ima.KeyID)
	for i, k := range keys {
		if k == nil {
			return nil, fmt.Errorf("trust store: key %d: no key", i+1)
		}
		if err := k.check(); err != nil {
			return nil, fmt.Errorf("trust store: key %d (%v): %w", i+1, k.ID, err)
		}
		if _, ok := t.byID[k.ID]; ok {
			return nil, fmt.Errorf("trust store: key %d: key id %v stands twice", i+1, k.ID)
		}
		der := string(k.MarshalDER())
		if other, ok := seen[der]; ok {
			return nil, fmt.Errorf("trust store: key %d (%v): the same key as %v", i+1, k.ID, other)
		}
		seen[der] = k.ID
		c := *k
		t.keys = append(t.keys, &c)
		t.byID[k.ID] = &c
	}
	return t, nil
}

// ParseTrustStore reads a store as Append writes it. White space may stand
// around the blocks, nothing else may.
func ParseTrustStore(text []byte) (*TrustStore, error) {
	if len(text) > maxTrustStore {
		return nil, fmt.Errorf("trust store: %d bytes, at most %d are allowed", len(text), maxTrustStore)
	}
	var keys []*PublicKey
	for {
		block, rest, err := nextBlock(text)
		if err != nil {
			return nil, fmt.Errorf("trust store: key %d: %w", len(keys)+1, err)
		}
		if block == nil {
			return NewTrustStore(keys...)
		}
		k, err := parseTrusted(block)
		if err != nil {
			return nil, fmt.Errorf("trust store: key %d: %w", len(keys)+1, err)
		}
		keys, text = append(keys, k), rest
	}
}

func parseTrusted(block *pem.Block) (*PublicKey, error) {
	k, err := ParsePublicDER(block.Bytes)
	if err != nil {
		return nil, err
	}
	id, ok := block.Headers[headerKeyID]
	if !ok {
		return nil, fmt.Errorf("header %s is missing", headerKeyID)
	}
	if k.ID, err = ima.ParseKeyID(id); err != nil {
		return nil, err
	}
	for name, value := range block.Headers {
		switch name {
		case headerKeyID:
		case headerName:
			k.Name = value
		case headerNotBefore:
			k.NotBefore, err = parseTime(value)
		case headerNotAfter:
			k.NotAfter, err = parseTime(value)
		default:
			err = errors.New("unknown")
		}
		if err == nil && value == "" {
			err = errors.New("empty")
		}
		if err != nil {
			return nil, fmt.Errorf("header %q: %w", name, err)
		}
	}
	return k, nil
}

// Append adds the store's text to b: for each key a PEM block "PUBLIC KEY" with
// its id, and its name and validity where it has them, as headers.
func (t *TrustStore) Append(b []byte) []byte {
	for _, k := range t.keys {
		headers := map[string]string{headerKeyID: k.ID.String()}
		if k.Name != "" {
			headers[headerName] = k.Name
		}
		if !k.NotBefore.IsZero() {
			headers[headerNotBefore] = formatTime(k.NotBefore)
		}
		if !k.NotAfter.IsZero() {
			headers[headerNotAfter] = formatTime(k.NotAfter)
		}
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: pemPublicKey, Headers: headers, Bytes: k.MarshalDER()})...)
	}
	return b
}

// Lookup finds a key by its id. Whether it is valid now is for Verify or ValidAt.
func (t *TrustStore) Lookup(id ima.KeyID) (*PublicKey, bool) {
	k, ok := t.byID[id]
	if !ok {
		return nil, false
	}
	c := *k
	return &c, true
}

// Keys gives all keys in the order in which the store has them.
func (t *TrustStore) Keys() []*PublicKey {
	keys := slices.Clone(t.keys)
	for i, k := range keys {
		c := *k
		keys[i] = &c
	}
	return keys
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseTime reads RFC 3339 in UTC and whole seconds, the one form that
// formatTime writes.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || formatTime(t) != s || t.IsZero() {
		return time.Time{}, fmt.Errorf("%q is not a time in the form 2006-01-02T15:04:05Z", s)
	}
	return t, nil
}
