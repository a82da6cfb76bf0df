package container

import (
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/vmseal/vmseal/imagetool/block"
)

// A file system is read in small pieces that lie beside each other, and each question to
// the daemon costs a round trip. So a cache asks for whole blocks and keeps the last ones.
const (
	cacheBlock  = 64 << 10
	cacheBlocks = 256
)

// A cache reads blocks of a device and keeps what it read last. What is written goes to
// the device at once, and is read from there again.
type cache struct {
	dev block.Device

	mu     sync.Mutex // also while the device is asked, which has one question at a time
	blocks map[int64][]byte
	order  []int64 // of the blocks, oldest first
}

func newCache(dev block.Device) *cache { return &cache{dev: dev, blocks: map[int64][]byte{}} }

// forget has everything read from the device again.
func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.blocks)
	c.order = nil
}

func (c *cache) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || len(p) >= cacheBlock {
		return c.dev.ReadAt(p, off)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(p) {
		at := (off + int64(n)) / cacheBlock
		b, err := c.get(at)
		if err != nil {
			return n, err
		}
		from := off + int64(n) - at*cacheBlock
		if from >= int64(len(b)) {
			return n, io.EOF
		}
		n += copy(p[n:], b[from:])
	}
	return n, nil
}

// get gives the block with a number, which is short at the end of the device.
func (c *cache) get(at int64) ([]byte, error) {
	if b, ok := c.blocks[at]; ok {
		return b, nil
	}
	b := make([]byte, cacheBlock)
	n, err := c.dev.ReadAt(b, at*cacheBlock)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(c.order) == cacheBlocks {
		delete(c.blocks, c.order[0])
		c.order = c.order[1:]
	}
	c.blocks[at], c.order = b[:n], append(c.order, at)
	return b[:n], nil
}

func (c *cache) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.dev.WriteAt(p, off)
	for at := off / cacheBlock; at <= (off+int64(len(p)))/cacheBlock; at++ {
		if _, ok := c.blocks[at]; ok {
			delete(c.blocks, at)
			c.order = slices.DeleteFunc(c.order, func(o int64) bool { return o == at })
		}
	}
	return n, err
}
