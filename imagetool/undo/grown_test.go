package undo

import (
	"bytes"
	"strings"
	"testing"
)

// TestGrown: a log of an image that grows is refused where its end cannot be moved, and
// when what it says of the growth makes no sense. How such images are restored is tested
// in imagetool/carry.
func TestGrown(t *testing.T) {
	write := func(id Image) []byte {
		var log bytes.Buffer
		block := Block{Offset: 1024, Versions: [][]byte{bytes.Repeat([]byte("x"), 1024)}}
		err := Write(&log, id, bytes.NewReader(make([]byte, 4096)), func(yield func(Block, error) bool) { yield(block, nil) })
		if err != nil {
			t.Fatal(err)
		}
		return log.Bytes()
	}
	b := write(Image{Size: 1500, Grown: 2048, Name: "image"})
	l, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil || l.Image != (Image{Size: 1500, Grown: 2048, Name: "image"}) {
		t.Fatal(l, err)
	}
	p := &platter{data: bytes.Repeat([]byte("x"), 2048)}
	if _, err := l.Restore(p); err == nil || !strings.Contains(err.Error(), "end cannot be moved") || len(p.events) > 0 {
		t.Errorf("error %v after %d writes", err, len(p.events))
	}
	for _, payload := range [][]byte{
		{kindGrown},
		append([]byte{kindGrown}, le.AppendUint64(nil, 1500)...),
		append([]byte{kindGrown}, le.AppendUint64(nil, 2000)...),
		append([]byte{kindGrown}, le.AppendUint64(nil, 1<<63)...),
	} {
		id := Image{Size: 1500}
		if err := id.decodeGrown(payload); err == nil {
			t.Errorf("%x is taken for %d", payload, id.Grown)
		}
	}
	twice := Image{Size: 1500, Grown: 2048}
	if err := twice.decodeGrown(twice.encodeGrown()); err == nil {
		t.Error("it grows twice")
	}
}
