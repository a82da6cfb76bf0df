package nbd

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vmseal/vmseal/imagetool/block"
)

// TestHandshakes: whoever does not speak NBD as it should is not talked to.
func TestHandshakes(t *testing.T) {
	for name, c := range map[string]struct {
		server recording
		want   string // "" for none
	}{
		"plain":         {says(greeting, plain, export), ""},
		"structured":    {says(greeting, modern, context7, export), ""},
		"no contexts":   {says(greeting, modern, optionReply(optSetMetaContext, repErrUnsup, nil), export), ""},
		"by name":       {says(greeting, plain, optionReply(optGo, repErrUnsup, nil), u64(4096), []byte{0, 1}), ""},
		"with zeros":    {says(greetingOf(fixedNewstyle), plain, optionReply(optGo, repErrUnsup, nil), u64(4096), []byte{0, 1}, make([]byte, 124)), ""},
		"more is told":  {says(greeting, plain, optionReply(optGo, repInfo, append([]byte{0, 3}, make([]byte, 12)...)), export), ""},
		"nothing":       {says(), "hung up"},
		"cut short":     {says(greeting[:17]), "hung up"},
		"ssh":           {says([]byte("SSH-2.0-OpenSSH_9.2p1 Debian-2")), "newstyle"},
		"oldstyle":      {says(u64(magicInit), u64(0x420281861253), make([]byte, 200)), "newstyle"},
		"not fixed":     {says(greetingOf(noZeroes)), "fixed newstyle"},
		"other option":  {says(greeting, optionReply(optGo, repAck, nil)), "does not answer option 8"},
		"too long":      {says(greeting, optionReply(optStructuredReply, repInfo, text(maxOptionReply+1))), "with 65537 bytes"},
		"ack with data": {says(greeting, optionReply(optStructuredReply, repAck, text(1))), "acknowledges"},
		"info for none": {says(greeting, optionReply(optStructuredReply, repInfo, text(1))), "a reply of type 3"},
		"other context": {says(greeting, modern, optionReply(optSetMetaContext, repMetaContext, append(u32(1), "qemu:allocation"...))), "not asked for"},
		"two contexts":  {says(greeting, modern, context7[:20+19], context7), "not asked for"},
		"unknown": {says(greeting, plain, optionReply(optGo, repError+6, []byte("export 'disk'\nnot present"))),
			"option 7 of the handshake: the NBD server says: export 'disk' not present"},
		"no size":       {says(greeting, plain, optionReply(optGo, repAck, nil)), "how large"},
		"two sizes":     {says(greeting, plain, export[:20+12], export), "describes the export"},
		"short info":    {says(greeting, plain, optionReply(optGo, repInfo, []byte{0})), "reply of type 3"},
		"huge":          {says(greeting, plain, optionReply(optGo, repInfo, info(1<<63, 0))), "impossible"},
		"never ends":    {says(greeting, plain, bytes.Repeat(optionReply(optGo, repInfo, []byte{0, 9}), 40)), "more than 32"},
		"name disliked": {says(greeting, plain, optionReply(optGo, repErrUnsup, nil)), "hung up"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := New(c.server, Options{Export: "disk", Name: "disk"})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if client.Size() != 4096 || client.Name() != "disk" {
				t.Errorf("%s has %d bytes", client.Name(), client.Size())
			}
		})
	}
}

// connect gives a client whose server says this after the handshake.
func connect(t *testing.T, structured bool, parts ...[]byte) *Client {
	t.Helper()
	start := [][]byte{greeting, plain, export}
	if structured {
		start = [][]byte{greeting, modern, context7, export}
	}
	c, err := New(says(append(start, parts...)...), Options{Name: "disk"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestReplies reads bytes 8 to 16. What is no answer to that ends the connection.
func TestReplies(t *testing.T) {
	const last = chunkDone
	eight := []byte("12345678")
	for name, c := range map[string]struct {
		structured bool
		server     []byte
		want       string
		got        string
	}{
		"simple":       {false, simple(0, 1, eight), "", "12345678"},
		"one chunk":    {true, chunkOf(last, chunkData, 1, u64(8), eight), "", "12345678"},
		"two chunks":   {true, bytes.Join([][]byte{chunkOf(0, chunkData, 1, u64(8), eight[:3]), chunkOf(last, chunkHole, 1, u64(11), u32(5))}, nil), "", "123\x00\x00\x00\x00\x00"},
		"end by none":  {true, bytes.Join([][]byte{chunkOf(0, chunkData, 1, u64(8), eight), chunkOf(last, chunkNone, 1)}, nil), "", "12345678"},
		"other cookie": {false, simple(0, 2, eight), "answers request 2, not 1", ""},
		"other chunk":  {true, chunkOf(last, chunkData, 7, u64(8), eight), "answers request 7", ""},
		"not asked":    {false, chunkOf(last, chunkData, 1, u64(8), eight), "begins with 0x668e33ef", ""},
		"unstructured": {true, simple(0, 1, eight), "not structured", ""},
		"cut short":    {false, simple(0, 1, eight[:7]), "hung up", ""},
		"garbage":      {false, text(30), "begins with 0x78787878", ""},
		"too little":   {true, chunkOf(last, chunkData, 1, u64(8), eight[:7]), "sent 7 of 8", ""},
		"too much":     {true, chunkOf(last, chunkData, 1, u64(8), eight, eight), "16 bytes from 8", ""},
		"elsewhere":    {true, chunkOf(last, chunkData, 1, u64(7), eight), "8 bytes from 7", ""},
		"twice":        {true, bytes.Join([][]byte{chunkOf(0, chunkData, 1, u64(8), eight[:4]), chunkOf(last, chunkData, 1, u64(8), eight[:4])}, nil), "4 bytes from 8", ""},
		"huge hole":    {true, chunkOf(last, chunkHole, 1, u64(8), u32(1<<31)), "2147483648 bytes", ""},
		"no data":      {true, chunkOf(last, chunkData, 1, u64(8)), "a chunk of data has 8", ""},
		"no hole":      {true, chunkOf(last, chunkHole, 1, u64(8), u32(0)), "0 bytes from 8", ""},
		"status":       {true, chunkOf(last, chunkBlockStatus, 1, u32(7), u32(8), u32(0)), "type 5", ""},
		"unknown":      {true, chunkOf(last, 99, 1), "type 99", ""},
		"none so far":  {true, chunkOf(0, chunkNone, 1), "type 0", ""},
		"short error":  {true, chunkOf(last, chunkError, 1, u32(5)), "an error has 4", ""},
		"long message": {true, chunkOf(last, chunkError, 1, u32(5), []byte{0, 9}, text(4)), "message of an error has 9", ""},
		"error 0":      {true, chunkOf(last, chunkError, 1, u32(0), []byte{0, 0}), "no number", ""},
		"many errors":  {true, bytes.Repeat(chunkOf(0, chunkError, 1, u32(5), []byte{0, 0}), 40), "more than 16", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, b := connect(t, c.structured, c.server), make([]byte, 8)
			n, err := client.ReadAt(b, 8)
			if c.want == "" {
				if err != nil || n != 8 || string(b) != c.got {
					t.Errorf("%d bytes, %q, %v", n, b, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "reading 8 bytes at 8: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if _, again := client.ReadAt(b, 0); again == nil || again.Error() != err.Error() {
				t.Errorf("the connection is used further: %v", again)
			}
		})
	}
}

// TestServerErrors: the connection outlives an error that the server tells.
func TestServerErrors(t *testing.T) {
	full := chunkOf(chunkDone, chunkErrorOffset, 1, u32(uint32(syscall.ENOSPC)), []byte{0, 4}, []byte("full"), u64(8))
	for name, c := range map[string]struct {
		client *Client
		want   string
	}{
		"structured": {connect(t, true, full, simple(0, 2, nil)), "writing 8 bytes at 8: the NBD server says: full: no space left on device"},
		"simple":     {connect(t, false, simple(uint32(syscall.ENOSPC), 1, nil), simple(0, 2, nil)), "writing 8 bytes at 8: the NBD server says: no space left on device"},
	} {
		_, err := c.client.WriteAt(text(8), 8)
		if err == nil || err.Error() != c.want || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := c.client.WriteAt(text(8), 8); n != 8 || err != nil {
			t.Errorf("%s: afterwards %v", name, err)
		}
	}
}

// TestBounds: nothing outside of the export is asked for.
func TestBounds(t *testing.T) {
	c := connect(t, false, simple(0, 1, text(6)))
	b := make([]byte, 8)
	if n, err := c.ReadAt(b, 4090); n != 6 || err != io.EOF {
		t.Errorf("over the end: %d, %v", n, err)
	}
	if n, err := c.ReadAt(b, 4096); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	if _, err := c.ReadAt(b, -1); err == nil || err == io.EOF {
		t.Errorf("before the start: %v", err)
	}
	for _, off := range []int64{-1, 4089, 4097, 1 << 62} {
		if n, err := c.WriteAt(b, off); n != 0 || err == nil {
			t.Errorf("a write at %d: %d, %v", off, n, err)
		}
	}
	c = connect(t, false)
	c.flags |= flagReadOnly
	if _, err := c.WriteAt(b, 0); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("to a read-only export: %v", err)
	}
}

// TestData reads which ranges hold data, and takes all for data where the server is of no
// help.
func TestData(t *testing.T) {
	status := func(cookie uint64, extents ...uint32) []byte {
		b := u32(7)
		for i, n := range extents {
			b = append(append(b, u32(n)...), u32(uint32(i%2)*(stateZero|1))...)
		}
		return chunkOf(chunkDone, chunkBlockStatus, cookie, b)
	}
	for name, c := range map[string]struct {
		client *Client
		want   []block.Range
	}{
		"one reply":    {connect(t, true, status(1, 1024, 1024, 2048)), ranges(0, 1024, 2048, 4096)},
		"several":      {connect(t, true, status(1, 512), status(2, 512, 1024), status(3, 4096)), ranges(0, 1024, 2048, 4096)},
		"beyond":       {connect(t, true, status(1, 1<<20)), ranges(0, 4096)},
		"no context":   {connect(t, false), ranges(0, 4096)},
		"error":        {connect(t, true, status(1, 512, 512), simple(5, 2, nil)), ranges(0, 512, 1024, 4096)},
		"empty extent": {connect(t, true, status(1, 0, 512)), ranges(0, 4096)},
		"too many":     {connect(t, true, status(1, 4096, 512)), ranges(0, 4096)},
		"other":        {connect(t, true, chunkOf(chunkDone, chunkBlockStatus, 1, u32(8), u32(4096), u32(2))), ranges(0, 4096)},
		"no extents":   {connect(t, true, chunkOf(chunkDone, chunkNone, 1)), ranges(0, 4096)},
	} {
		if got := slices.Collect(c.client.Data(0, 4096)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestSilence: a server that takes too long is told from one that is gone.
func TestSilence(t *testing.T) {
	c := connect(t, false)
	c.conn = silent{}
	c.in.Reset(silent{})
	if _, err := c.ReadAt(make([]byte, 8), 0); err == nil || !strings.Contains(err.Error(), "has not answered for 5m0s") {
		t.Errorf("error %v", err)
	}
}

// FuzzClient lets a client talk to a server that says anything.
func FuzzClient(f *testing.F) {
	f.Add(bytes.Join([][]byte{greeting, modern, context7, export, chunkOf(chunkDone, chunkBlockStatus, 1, u32(7), u32(1024), u32(0), u32(4096), u32(3)),
		chunkOf(chunkDone, chunkData, 2, u64(8), text(8)), simple(0, 3, nil), simple(0, 4, nil), simple(28, 5, nil)}, nil))
	f.Add(bytes.Join([][]byte{greeting, plain, export, simple(0, 1, text(8)), simple(0, 2, nil)}, nil))
	f.Add(bytes.Join([][]byte{greeting, plain, optionReply(optGo, repErrUnsup, nil), u64(4096), {0, 1}, simple(5, 1, nil)}, nil))
	f.Fuzz(func(t *testing.T, said []byte) {
		c, err := New(says(said), Options{Name: "disk"})
		if err != nil {
			return
		}
		at := int64(0)
		for r := range c.Data(0, min(c.Size(), 1<<30)) {
			if r.Start < at || r.End <= r.Start || r.End > c.Size() {
				t.Fatalf("data in %v behind %d", r, at)
			}
			at = r.End
		}
		c.ReadAt(make([]byte, 8), 8)
		c.Sync()
		c.WriteAt(make([]byte, 16), 0)
		c.WriteAt(text(16), 0)
		c.Close()
	})
}
