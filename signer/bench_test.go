package signer

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/ima"
)

// benchTree has files of 16 KiB, about the median of an operating system.
func benchTree(n int) *fakeTree {
	tree := newFakeTree()
	for i := range n {
		tree.add(strings.Repeat(fmt.Sprintf("%08d", i), 2048))
	}
	return tree
}

// reportFiles gives the time of one file beside that of one run.
func reportFiles(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/file")
}

func BenchmarkDigest(b *testing.B) {
	tree := newFakeTree(strings.Repeat("x", 16<<20))
	b.SetBytes(16 << 20)
	for b.Loop() {
		if _, err := digestFile(b.Context(), tree, &tree.files[0], &meter{}, io.Discard, ima.SHA256.CryptoHash()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	const n = 200
	tree := benchTree(n)
	o := options(b)
	for b.Loop() {
		clear(tree.labels)
		mustSign(b, tree, o)
	}
	reportFiles(b, n)
}

// BenchmarkSignKept is a second run, which only verifies.
func BenchmarkSignKept(b *testing.B) {
	const n = 1000
	tree := benchTree(n)
	o := options(b)
	mustSign(b, tree, o)
	for b.Loop() {
		mustSign(b, tree, o)
	}
	reportFiles(b, n)
}

// BenchmarkPipeline is signing without signatures: what is left beside RSA.
func BenchmarkPipeline(b *testing.B) {
	const n = 1000
	tree := benchTree(n)
	o := options(b)
	o.DryRun = true
	for b.Loop() {
		mustSign(b, tree, o)
	}
	reportFiles(b, n)
}

func BenchmarkVerify(b *testing.B) {
	const n = 1000
	tree := benchTree(n)
	mustSign(b, tree, options(b))
	store := trust(b, testKey())
	for b.Loop() {
		if _, err := Verify(b.Context(), tree, store, VerifyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	reportFiles(b, n)
}
