package enforce

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMeasure is not a test but what scripts/bench-enforcer runs: VMSEAL_MEASURE is the number of rounds, in each of which
// the guest boots once without and once with the enforcer. Nothing is asserted about times.
func TestMeasure(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("VMSEAL_MEASURE"))
	if err != nil {
		t.Skip("VMSEAL_MEASURE is not set: scripts/bench-enforcer measures")
	}
	g := theGuest(t)
	var plain, guarded, flushes []float64
	var m measured
	for n := range rounds {
		t.Run(fmt.Sprintf("round %d", n+1), func(t *testing.T) {
			p := boot(t, options{guest: g})
			plain = append(plain, p.cpuSeconds())
			p.kill()
			v, e := bootGuarded(t, newGuard(t, g, "6.1"), options{})
			guarded = append(guarded, v.cpuSeconds())
			flushes = append(flushes, float64(v.flushes()))
			m.boot = len(e.records())
			// New files, each of which makes hits, so that there are enough of these to speak of.
			v.expect(0, `for i in $(seq 100); do probe copy /opt/t/program/good /root/m$i && /root/m$i; done >/dev/null`)
			m.add(e)
			v.kill()
			e.awaitExit(0)
		})
	}
	if t.Failed() {
		return
	}
	fmt.Printf("\nown time per hit in us, %d hits (median / 99th percentile)\n", len(m.hits))
	for _, hook := range []string{"ima_appraise_measurement", "integrity_digsig_verify", ""} {
		m.print(hook)
	}
	fmt.Printf("\nresident memory of the enforcer: %.1f MiB at most\n", m.resident)
	fmt.Printf("\nboot to multi-user.target, %d rounds in turn, median CPU time of QEMU\n", rounds)
	fmt.Printf("  without enforcement  %6.1f s\n  with enforcement     %6.1f s: %.2f times as much\n",
		quantile(plain, 0.5), quantile(guarded, 0.5), quantile(guarded, 0.5)/quantile(plain, 0.5))
	cost := (quantile(guarded, 0.5) - quantile(plain, 0.5)) / quantile(flushes, 0.5)
	fmt.Printf("  of which the emulator translated its code anew %.0f times (%.0f ms of the difference for each)\n",
		quantile(flushes, 0.5), 1000*cost)
	fmt.Printf("  audit lines of a boot: %d\n", m.boot)
}

// measured is what the enforcer says of its own time.
type measured struct {
	hits     []record
	boot     int
	resident float64 // MiB
}

func (m *measured) add(e *enforcer) {
	for _, r := range e.records() {
		if r.Type == "hit" {
			m.hits = append(m.hits, r)
		}
	}
	status, err := os.ReadFile(filepath.Join("/proc", itoa(e.process.Pid), "status"))
	must(e.v.t, err)
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 64)
			must(e.v.t, err)
			m.resident = max(m.resident, n/1024)
		}
	}
}

// print gives one line for the hits at a hook, or at all of them.
func (m *measured) print(hook string) {
	var parts [5][]float64
	for _, r := range m.hits {
		if hook != "" && r.Hook != hook {
			continue
		}
		s := r.Spent
		for i, ns := range []time.Duration{s.Registers, s.Memory, s.Verify, s.Answer, s.all()} {
			parts[i] = append(parts[i], float64(ns)/1000)
		}
	}
	if hook == "" {
		hook = "all"
	}
	fmt.Printf("  %-25s", hook)
	for i, name := range []string{"stop and registers", "memory", "verify", "answer", "all"} {
		fmt.Printf("  %s %.0f / %.0f", name, quantile(parts[i], 0.5), quantile(parts[i], 0.99))
	}
	fmt.Println()
}

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// cpuSeconds is the processor time that QEMU has taken so far: fields 14 and 15 of proc(5)'s stat.
func (v *vm) cpuSeconds() float64 {
	v.t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", itoa(v.process.Pid), "stat"))
	must(v.t, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	var ticks float64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseFloat(f, 64)
		must(v.t, err)
		ticks += n
	}
	return ticks / 100 // USER_HZ
}
