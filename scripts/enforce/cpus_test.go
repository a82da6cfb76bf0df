package enforce

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestPluggedCPU: a virtual CPU that is plugged in has no traps. A kernel that could use one is frozen before anything of the
// system runs; where it could not, the guest is frozen when one was plugged in all the same.
func TestPluggedCPU(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	room := options{readonly: true, vcpus: 1, maxVCPUs: 2}
	t.Run("possible", func(t *testing.T) {
		t.Parallel()
		o := room
		o.noWait = true
		v, e := bootGuarded(t, newGuard(t, g, "6.1"), o, "--device", systemDisk)
		e.awaitExit(4)
		v.awaitFrozen()
		if said := e.log.String(); !strings.Contains(said, "can use 2 virtual CPUs") || !strings.Contains(said, "nr_cpus=1") {
			t.Errorf("the enforcer says: %s", said)
		}
		for _, r := range e.records() {
			if r.Verdict == "allow" && r.Reason != "of the initramfs" {
				t.Errorf("before it was frozen: %+v", r)
			}
		}
	})
	t.Run("plugged", func(t *testing.T) {
		t.Parallel()
		o := room
		o.cmdline = "nr_cpus=1"
		v, e := bootGuarded(t, newGuard(t, g, "6.1"), o, "--device", systemDisk)
		v.expect(0, "/opt/t/program/good")
		v.plugCPU()
		v.send("/opt/t/program/second-key")
		e.awaitExit(4)
		v.awaitFrozen()
		if said := e.log.String(); !strings.Contains(said, "plugged in") {
			t.Errorf("the enforcer says: %s", said)
		}
	})
}

// plugCPU plugs in the virtual CPU that there is room for.
func (v *vm) plugCPU() {
	v.t.Helper()
	var slots []struct {
		Type  string
		Props map[string]any
		Path  string `json:"qom-path"` // of one that is there
	}
	if err := json.Unmarshal(v.qmp.do("query-hotpluggable-cpus", nil), &slots); err != nil {
		v.fatal("query-hotpluggable-cpus: %v", err)
	}
	for _, s := range slots {
		if s.Path == "" {
			s.Props["driver"] = s.Type
			v.qmp.do("device_add", s.Props)
			return
		}
	}
	v.fatal("there is no room for a virtual CPU: %+v", slots)
}
