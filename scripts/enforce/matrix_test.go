package enforce

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// dimensions are what guests differ in, and the values that TestMatrix tries: all together they would be 144 boots.
var dimensions = []struct {
	name   string
	values []string
}{
	{"QEMU", []string{"installed", "trixie", "sid"}},
	{"kernel", append([]string{"6.1", "6.12"}, laterKernels...)},
	{"vCPUs", []string{"1", "2", "4"}},
	{"KASLR", []string{"no", "yes"}},
	{"trap", []string{"hardware", "software"}},
}

// cell is a value of each dimension.
type cell [5]string

// TestMatrix boots guarded guests so that each value of a dimension meets each of every other one, uses every case in each,
// and prints all cells as a table: those that passed, those that failed, and those that were not run.
func TestMatrix(t *testing.T) {
	t.Parallel()
	need(t)
	chosen := pairwise()
	verdicts := make(map[cell]string)
	var mu sync.Mutex
	t.Cleanup(func() { printMatrix(t, verdicts) })
	for _, c := range chosen {
		t.Run(strings.Join(c[:], ", "), func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() {
				mu.Lock()
				defer mu.Unlock()
				verdicts[c] = "passed"
				if t.Skipped() {
					verdicts[c] = "not run: QEMU of " + c[0] + " cannot be had here"
				} else if t.Failed() {
					verdicts[c] = "failed"
				}
			})
			c.try(t)
		})
	}
}

// try boots a guest of the cell.
func (c cell) try(t *testing.T) {
	g := theGuest
	if c[1] != "6.1" && c[1] != "6.12" {
		g = theNewGuest
	}
	o := options{kernel: c[1], qemu: qemuOf(t, c[0])}
	_, err := fmt.Sscan(c[2], &o.vcpus)
	must(t, err)
	if c[3] == "yes" {
		o.cmdline = "kaslr"
	}
	v, e := bootGuarded(t, newGuard(t, g(t), c[1]), o, "--trap", c[4])
	v.expectHealthy(o)
	expectNoDenial(t, e)
	v.expectCases(e, c[1])
}

// qemuOf gives the program of a Debian suite; "" is the installed one.
func qemuOf(t *testing.T, suite string) string {
	t.Helper()
	if suite == "installed" {
		return ""
	}
	cmd := bed.Peer("../qemu", suite)
	out, err := cmd.Output()
	if failed, ok := err.(*exec.ExitError); ok && failed.ExitCode() == 77 {
		t.Skipf("scripts/qemu %s: %s", suite, failed.Stderr)
	}
	must(t, err)
	return strings.TrimSpace(string(out))
}

// everyCell gives the product of all dimensions.
func everyCell() []cell {
	all := []cell{{}}
	for i, d := range dimensions {
		var next []cell
		for _, c := range all {
			for _, v := range d.values {
				c[i] = v
				next = append(next, c)
			}
		}
		all = next
	}
	return all
}

// pairs are those of two dimensions' values that a cell brings together.
func (c cell) pairs() (all [][4]string) {
	for i := range c {
		for j := range i {
			all = append(all, [4]string{dimensions[j].name, c[j], dimensions[i].name, c[i]})
		}
	}
	return all
}

// pairwise takes, again and again, the cell with the most pairs that none has so far, until there are no more.
func pairwise() (chosen []cell) {
	met := make(map[[4]string]bool)
	for {
		best, most := cell{}, 0
		for _, c := range everyCell() {
			n := 0
			for _, p := range c.pairs() {
				if !met[p] {
					n++
				}
			}
			if n > most {
				best, most = c, n
			}
		}
		if most == 0 {
			return chosen
		}
		for _, p := range best.pairs() {
			met[p] = true
		}
		chosen = append(chosen, best)
	}
}

// printMatrix prints what scripts/test repeats at its end: lines that begin with a bar.
func printMatrix(t *testing.T, verdicts map[cell]string) {
	t.Logf("| %s | %s | %s | %s | %s | |", dimensions[0].name, dimensions[1].name, dimensions[2].name, dimensions[3].name, dimensions[4].name)
	rest := 0
	for _, c := range everyCell() {
		if verdict, ok := verdicts[c]; ok {
			t.Logf("| %s | %s |", strings.Join(c[:], " | "), verdict)
		} else {
			rest++
		}
	}
	t.Logf("| all others | | | | | %d not run: each two of their values met in one that was |", rest)
}

func TestPairwise(t *testing.T) {
	chosen := pairwise()
	met := make(map[[4]string]bool)
	for _, c := range chosen {
		for _, p := range c.pairs() {
			met[p] = true
		}
	}
	for _, c := range everyCell() {
		for _, p := range c.pairs() {
			if !met[p] {
				t.Fatalf("%v never meet", p)
			}
		}
	}
	if len(chosen) > 16 {
		t.Errorf("%d boots", len(chosen))
	}
}
