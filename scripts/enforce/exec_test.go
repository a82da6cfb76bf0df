package enforce

import (
	"strconv"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// need skips the test where this machine cannot run it: of these outside programs every test here needs most.
func need(t *testing.T) {
	t.Helper()
	bed.Need(t, "qemu-system-x86_64", "mmdebstrap", "mke2fs", "tune2fs", "e2fsck", "tar", "mount", "evmctl", "xz")
}

func itoa(n int) string { return strconv.Itoa(n) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
