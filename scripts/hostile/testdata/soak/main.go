// Command soak is what scripts/soak runs: see package hostile.
package main

import (
	"os"

	"github.com/vmseal/vmseal/scripts/hostile"
)

func main() { os.Exit(hostile.Main()) }
