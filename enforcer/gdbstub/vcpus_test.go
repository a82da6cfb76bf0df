package gdbstub

import (
	"errors"
	"strings"
	"testing"
)

// TestPlugged: QEMU sets no traps in a vCPU that is plugged in. The next stop is an error, and the
// guest stays stopped.
func TestPlugged(t *testing.T) {
	m := boot(t, 1, "-smp", "1,maxcpus=2,sockets=2,cores=1,threads=1")
	g := m.dial(t)
	plant(t, g, hook)
	runOn(t, g, runToHit(t, g))
	if n := g.Trapped(); n != 1 {
		t.Errorf("%d vCPUs have traps", n)
	}
	m.qmp(t, "device_add", map[string]any{"driver": "qemu64-x86_64-cpu", "id": "late", "socket-id": 1, "core-id": 0, "thread-id": 0})
	for range 2 { // one hit may come first
		s, err := g.Run(0)
		if err == nil {
			runOn(t, g, s)
			continue
		}
		if !strings.Contains(err.Error(), "plugged in") {
			t.Fatal(err)
		}
		if err := g.Freeze(); err != nil {
			t.Error(err)
		}
		if status := m.qmp(t, "query-status"); status["running"] != false {
			t.Errorf("the guest is %v", status)
		}
		return
	}
	t.Fatal("the new vCPU was not noticed")
}

// TestThreads: if the list of vCPUs has changed, the stop is an error, and the guest does not run
// after that.
func TestThreads(t *testing.T) {
	for name, list := range map[string]map[string]string{
		"plugged in":       {"qs": frame("mp01.02")},
		"unplugged":        {"qf": frame("l")},
		"another in place": {"qf": frame("mp01.02")},
	} {
		t.Run(name, func(t *testing.T) {
			s, g := newStub(t, nil)
			if err := errors.Join(g.begin(), g.Plant([]uint64{hook})); err != nil {
				t.Fatal(err)
			}
			if n := g.Trapped(); n != 1 {
				t.Errorf("%d vCPUs have traps", n)
			}
			s.set(list, hook)
			_, err := g.Run(0)
			if err == nil || !strings.Contains(err.Error(), "was plugged in and has no traps, or was unplugged") {
				t.Errorf("the stop: %v", err)
			}
			if err := g.Freeze(); err != nil {
				t.Errorf("freezing: %v", err)
			}
			g.Close()
			<-s.done
			if n := strings.Count(strings.Join(s.writes, ""), "vCont;c"); n != 1 {
				t.Errorf("the guest was resumed %d times", n)
			}
		})
	}
}
