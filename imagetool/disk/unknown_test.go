package disk

import (
	"context"
	"os"
	"testing"
)

func TestIsZero(t *testing.T) {
	path := sparse(t, 8*mib)
	img := &Image{path: path}
	for _, at := range []int64{0, 3*mib - 1, 6 * mib} { // all around the partition
		poke(t, path, at, []byte("x"))
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img.file = f
	p := Partition{Number: 1, Start: 3 * mib, Size: 3 * mib}
	check := func(what string, want bool) {
		t.Helper()
		if got, err := img.IsZero(context.Background(), p); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}
	check("a hole", true)
	poke(t, path, 3*mib, make([]byte, 3*mib))
	check("zeros that were written", true)
	poke(t, path, 6*mib-1, []byte("x"))
	check("a last byte", false)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := img.IsZero(ctx, p); err == nil {
		t.Error("it went on when it was told to end")
	}
}

func TestIsFileless(t *testing.T) {
	for typ, want := range map[string]bool{
		"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": true,
		"0xef":                                 true,
		"0x82":                                 true,
		"0x83":                                 false,
		"0FC63DAF-8483-4772-8E79-3D69D8477DE4": false, // Linux file system
		"":                                     false,
	} {
		if got := (Partition{Type: typ}).IsFileless(); got != want {
			t.Errorf("%q: %v", typ, got)
		}
	}
}
