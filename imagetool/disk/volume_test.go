package disk

import "testing"

func TestIsFileless(t *testing.T) {
	for typ, want := range map[string]bool{
		"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": true,
		"0xef":                                 true,
		"0x82":                                 true,
		"0x83":                                 false,
		"0FC63DAF-8483-4772-8E79-3D69D8477DE4": false, // Linux file system
		"":                                     false,
	} {
		if got := (Volume{Type: typ}).IsFileless(); got != want {
			t.Errorf("%q: %v", typ, got)
		}
	}
}
