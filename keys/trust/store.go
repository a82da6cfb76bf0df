package trust

import (
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/formats/digsig"
)

// MaxSize bounds the text of a trust store; it has room for a thousand keys.
const MaxSize = 1 << 20

// The PEM headers of a key in a trust store.
const (
	HeaderKeyID     = "IMA-Key-Id"
	HeaderName      = "Name"
	HeaderNotBefore = "Not-Before"
	HeaderNotAfter  = "Not-After"
)

// Store is a set of keys, no two with the same id. It does not change, and may be used
// by several goroutines at once.
type Store struct{ keys []Key }

// New makes a store of copies of the keys, and refuses what could make it ambiguous: an
// id that stands for two keys, and a key that stands in it twice (with two ids, its
// validity could be chosen by whoever writes the id).
func New(keys ...*Key) (*Store, error) {
	if len(keys) == 0 {
		return nil, errors.New("trust store: no keys")
	}
	t := new(Store)
	for i, k := range keys {
		if err := t.add(k); err != nil {
			return nil, fmt.Errorf("trust store: key %d: %w", i+1, err)
		}
	}
	return t, nil
}

func (t *Store) add(k *Key) error {
	if k == nil {
		return errors.New("no key")
	}
	if err := k.Check(); err != nil {
		return fmt.Errorf("%v: %w", k.ID, err)
	}
	for _, other := range t.keys {
		if other.ID == k.ID {
			return fmt.Errorf("key id %v stands twice", k.ID)
		}
		if other.RSA.Equal(k.RSA) {
			return fmt.Errorf("%v: the same key as %v", k.ID, other.ID)
		}
	}
	t.keys = append(t.keys, *k)
	return nil
}

// Parse reads a store as package keys writes it. White space may stand
// around the blocks, nothing else may.
func Parse(text []byte) (*Store, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("trust store: %d bytes, at most %d are allowed", len(text), MaxSize)
	}
	var keys []*Key
	for {
		block, rest, err := NextBlock(text)
		if err != nil {
			return nil, fmt.Errorf("trust store: key %d: %w", len(keys)+1, err)
		}
		if block == nil {
			return New(keys...)
		}
		k, err := parseTrusted(block)
		if err != nil {
			return nil, fmt.Errorf("trust store: key %d: %w", len(keys)+1, err)
		}
		keys, text = append(keys, k), rest
	}
}

func parseTrusted(block *pem.Block) (*Key, error) {
	k, err := ParseDER(block.Bytes)
	if err != nil {
		return nil, err
	}
	id, ok := block.Headers[HeaderKeyID]
	if !ok {
		return nil, fmt.Errorf("header %s is missing", HeaderKeyID)
	}
	if k.ID, err = digsig.ParseKeyID(id); err != nil {
		return nil, err
	}
	for name, value := range block.Headers {
		switch name {
		case HeaderKeyID:
		case HeaderName:
			k.Name = value
		case HeaderNotBefore:
			k.NotBefore, err = parseTime(value)
		case HeaderNotAfter:
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

// Lookup finds a key by its id. Whether it is valid now is for Verify or ValidAt.
func (t *Store) Lookup(id digsig.KeyID) (*Key, bool) {
	for i := range t.keys {
		if t.keys[i].ID == id {
			k := t.keys[i]
			return &k, true
		}
	}
	return nil, false
}

// Keys gives copies of all keys in the order in which the store has them.
func (t *Store) Keys() []*Key {
	keys := make([]*Key, len(t.keys))
	for i, k := range t.keys {
		keys[i] = &k
	}
	return keys
}

// FormatTime gives a moment as a trust store has it: RFC 3339, UTC, whole seconds.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseTime reads RFC 3339 in UTC and whole seconds, the one form that
// FormatTime writes.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || FormatTime(t) != s || t.IsZero() {
		return time.Time{}, fmt.Errorf("%q is not a time in the form 2006-01-02T15:04:05Z", s)
	}
	return t, nil
}
