package disk

import "testing"

func BenchmarkProbe(b *testing.B) {
	path := gptDisk(b)
	for b.Loop() {
		img, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		img.Close()
	}
}
