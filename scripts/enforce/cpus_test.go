package enforce

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestPluggedCPU: a virtual CPU that is plugged in has no traps. The guest is frozen before its kernel starts one, whether
// it has room for one or not.
func TestPluggedCPU(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	t.Run("started", func(t *testing.T) {
		t.Parallel()
		o := options{readonly: true, vcpus: 2, maxVCPUs: 3}
		v, e := bootGuarded(t, newGuard(t, g, "6.1"), o, "--device", systemDisk, "--heartbeat", "1000000") // which would notice, too
		if said := e.log.String(); !strings.Contains(said, "can use 3 vCPUs, but only 2 are present") {
			t.Errorf("the enforcer says: %s", said)
		}
		v.expect(0, "cd /sys/devices/system/cpu/cpu1 && echo 0 >online && echo 1 >online") // this one has traps
		e.await(0, "virtual CPU 1 is started", func(r record) bool { return r.Hook == "idle_thread_get" && r.Verdict == "pass" })
		v.expect(0, "taskset -c 1 /opt/t/program/good")
		v.expectDenied("taskset -c 1 /opt/t/program/changed")
		v.plugCPU()
		v.send("cd /sys/devices/system/cpu && while ! [ -e cpu2/online ]; do :; done; echo started; echo 1 >cpu2/online; echo goes on")
		e.awaitExit(4)
		v.awaitFrozen()
		if said := e.log.String(); !strings.Contains(said, "plugged in") {
			t.Errorf("the enforcer says: %s", said)
		}
	})
	t.Run("no room", func(t *testing.T) {
		t.Parallel()
		o := options{readonly: true, vcpus: 1, maxVCPUs: 2, cmdline: "nr_cpus=1"}
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
