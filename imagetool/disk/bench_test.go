package disk

import "testing"

func BenchmarkDetect(b *testing.B) {
	dev := device(b, gptDisk(b))
	for b.Loop() {
		if _, refused, err := Detect(dev); refused != nil || err != nil {
			b.Fatal(refused, err)
		}
	}
}
