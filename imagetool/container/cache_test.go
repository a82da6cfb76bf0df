package container

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// counted counts how often a device is asked.
type counted struct {
	inMemory
	reads int
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	return c.inMemory.ReadAt(p, off)
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) { return copy(c.inMemory[off:], p), nil }

// TestCache reads and writes at random, and gets what the device has.
func TestCache(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const size = 40<<20 + 1234 // more than the cache holds
	dev := &counted{inMemory: make([]byte, size)}
	want := make([]byte, size)
	c := newCache(dev)
	for range 20_000 {
		off := rnd.Int64N(size)
		if rnd.IntN(2) == 0 {
			off = rnd.Int64N(4 << 20)
		}
		n := 1 + rnd.IntN(10_000)
		if rnd.IntN(100) == 0 {
			n = cacheBlock + rnd.IntN(cacheBlock)
		}
		if rnd.IntN(4) == 0 {
			b := bytes.Repeat([]byte{byte(rnd.Uint32())}, min(n, int(size-off)))
			copy(want[off:], b)
			c.WriteAt(b, off)
			continue
		}
		b := make([]byte, n)
		got, err := c.ReadAt(b, off)
		expected := want[off:min(off+int64(n), size)]
		if !bytes.Equal(b[:got], expected) || (err == io.EOF) != (len(expected) < n) || err != nil && err != io.EOF {
			t.Fatalf("%d bytes at %d: %d, %v", n, off, got, err)
		}
	}
	if len(c.blocks) > cacheBlocks || len(c.order) != len(c.blocks) {
		t.Errorf("it keeps %d blocks, %d in order", len(c.blocks), len(c.order))
	}
	before := dev.reads
	for i := range int64(1000) {
		c.ReadAt(make([]byte, 64), 8<<20+i*64)
	}
	if dev.reads > before+2 {
		t.Errorf("a stretch of 64,000 bytes was asked for %d times", dev.reads-before)
	}
	if _, err := c.ReadAt(make([]byte, 1), size); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// TestCacheAtOnce lets several read while one writes.
func TestCacheAtOnce(t *testing.T) {
	c := newCache(&counted{inMemory: make([]byte, 1<<20)})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 1000 {
				if i == 0 {
					c.WriteAt([]byte{byte(j)}, int64(j))
				} else {
					c.ReadAt(make([]byte, 100), int64(j*900))
				}
			}
		})
	}
	all.Wait()
}
