package enforce

import (
	"os"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

func TestMain(m *testing.M) {
	if dom0 != "" {
		bed.Use(os.TempDir(), jobDir)
		os.Exit(m.Run())
	}
	bed.Main(m, bed.Options{Name: "enforce", Short: "the proof of enforcement boots guests for minutes",
		Build: []string{"scripts/enforce/testdata/guestagent", "scripts/enforce/testdata/probe"}})
}
