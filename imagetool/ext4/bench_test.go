package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// benchImage has 2,000 files of 8 KiB.
func benchImage(b *testing.B) memory {
	b.Helper()
	dir := b.TempDir()
	for i := range 2000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), pattern(8192, int64(i)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	m, err := os.ReadFile(makeImage(b, dir, "64M", "-t", "ext4", "-N", "4096"))
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func BenchmarkCheck(b *testing.B) {
	m := benchImage(b)
	for b.Loop() {
		mustCheck(b, m)
	}
}

func BenchmarkContents(b *testing.B) {
	fs, l := mustCheck(b, benchImage(b))
	b.SetBytes(2000 * 8192)
	for b.Loop() {
		for _, f := range l.Files {
			c, err := fs.Contents(f.Inode)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	image := benchImage(b)
	for b.Loop() {
		b.StopTimer()
		m := memory(bytes.Clone(image))
		_, l := mustCheck(b, m)
		e := stage(b, l, EditOptions{}, 265)
		b.StartTimer()
		if err := e.Commit(context.Background(), m); err != nil {
			b.Fatal(err)
		}
	}
}
