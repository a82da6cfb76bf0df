package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

func TestMain(m *testing.M) {
	if program := os.Getenv(supervisedEnv); program != "" {
		fmt.Fprintln(os.Stderr, beSupervised(program))
		os.Exit(1)
	}
	bed.Main(m, bed.Options{Name: "e2e", Short: "the end-to-end proof takes minutes"})
}
