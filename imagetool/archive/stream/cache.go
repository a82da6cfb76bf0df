package stream

import (
	"sync"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/signer"
)

// cached bounds how many labels are remembered for contents that come again: 10 MiB with
// keys of 4096 bits.
const cached = 16 << 10

// A cache is a signer.Reuse that also has the latest labels of this run. It forgets the
// oldest first.
type cache struct {
	given signer.Reuse // may be nil

	mu     sync.Mutex
	labels map[string][]byte
	order  []string // a ring, once it is full
	next   int
}

// Value asks for what was given first, as signing an image does.
func (c *cache) Value(digest []byte, id ima.KeyID, hash ima.HashID) ([]byte, bool) {
	if c.given != nil {
		if value, ok := c.given.Value(digest, id, hash); ok {
			return value, true
		}
	}
	return c.own(digest)
}

func (c *cache) own(digest []byte) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.labels[string(digest)]
	return value, ok
}

// learn remembers a label of this run's key and hash.
func (c *cache) learn(digest, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := string(digest)
	if _, ok := c.labels[key]; ok {
		return
	}
	if len(c.order) < cached {
		c.order = append(c.order, key)
	} else {
		delete(c.labels, c.order[c.next])
		c.order[c.next] = key
		c.next = (c.next + 1) % cached
	}
	c.labels[key] = value
}

// settle counts a label that came from this run as one that was signed.
func (c *cache) settle(rec *signer.Record, o *signer.Options) {
	if rec.Outcome != signer.Reused {
		return
	}
	if c.given != nil {
		if _, ok := c.given.Value(rec.Digest, o.KeyID, o.Hash); ok {
			return
		}
	}
	rec.Outcome = signer.Signed
}
