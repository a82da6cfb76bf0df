package disk

import "testing"

func BenchmarkDetect(b *testing.B) {
	dev := device(b, gptDisk(b))
	for b.Loop() {
		if l, err := Detect(dev, 0); err != nil || len(l.Problems) > 0 {
			b.Fatal(l.Problems, err)
		}
	}
}
