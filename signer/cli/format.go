package cli

import "fmt"

// Count gives "1 file" and "2 files".
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Size gives a number of bytes in a form that people can read.
func Size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/(1<<10), 0
	for ; f >= 1<<10 && unit < len(units)-1; unit++ {
		f /= 1 << 10
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}

var units = []string{"KiB", "MiB", "GiB", "TiB"}
