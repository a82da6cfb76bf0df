package enforce

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

var le = binary.LittleEndian

// fentrySize is what a function begins with that may be traced: tracing changes it, and is allowed.
const fentrySize = 5

// TestHeartbeat changes the guest's kernel by modules, which a kernel that is not locked down takes, signed as they are: from
// then on IMA asks about nothing, and no hit tells of it.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	for _, c := range []struct {
		name  string
		patch func(t *testing.T, p *kernelPlaces) patch
		says  string
	}{
		{"code", func(t *testing.T, p *kernelPlaces) patch {
			return patch{p.function(t, "ima_file_mmap") + fentrySize, []byte{0x31, 0xc0, 0xc3}} // xor %eax, %eax; ret
		}, "ima_file_mmap has changed"},
		{"flag", func(_ *testing.T, p *kernelPlaces) patch {
			return patch{p.Variables["ima_policy_flag"], make([]byte, 4)}
		}, "ima_policy_flag"},
		{"rules", func(_ *testing.T, p *kernelPlaces) patch {
			return patch{p.Variables["ima_rules"], le.AppendUint64(nil, p.Variables["linux_banner"]&^15)}
		}, "ima_rules has changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			gd := newGuard(t, g, "6.1")
			_, err := bed.Output(bed.AsNobody("imagetool", "initrd", "--force", "--no-lockdown", "--policy", gd.policy, "--out", gd.overlay))
			must(t, err)
			places := gd.places(t)
			o := options{readonly: true, data: gd.modulesDisk(t, c.patch(t, &places)), cmdline: "rdinit=/vmseal-init ima_appraise=enforce"}
			v, e := bootGuarded(t, gd, o, "--no-lockdown", "--heartbeat", "2")
			e.await(0, "a warning", func(r record) bool { return r.Type == "warning" && strings.Contains(r.Text, "without lockdown") })
			v.expect(0, "mount -o ro /dev/vdb /data")
			v.send("insmod /data/patch.ko")
			e.awaitExit(4)
			v.awaitFrozen()
			if said := e.log.String(); !strings.Contains(said, c.says) {
				t.Errorf("the enforcer does not say %q:\n%s", c.says, said)
			}
		})
	}
}

// awaitStops waits until the guest was stopped so often: with each heartbeat it is.
func (v *vm) awaitStops(n int) {
	v.t.Helper()
	for range n {
		select {
		case <-v.qmp.stops:
		case <-time.After(commandLimit):
			v.fatal("the guest is not stopped for a heartbeat")
		}
	}
}

// TestHeartbeatGoesOn: what people do with a kernel goes on while it is looked at every second.
func TestHeartbeatGoesOn(t *testing.T) {
	t.Parallel()
	v, e := bootGuarded(t, newGuard(t, theGuest(t), "6.1"), options{readonly: true, vcpus: 2}, "--device", systemDisk, "--heartbeat", "1")
	const tracing = "cd /sys/kernel/tracing && "
	for _, c := range []struct{ name, begin, end string }{
		{"nothing", "true", "true"},
		{"ftrace", tracing + "for f in ima_file_mmap ima_appraise_measurement security_bprm_check; do echo $f; done >set_ftrace_filter && echo function >current_tracer",
			tracing + "echo nop >current_tracer && echo >set_ftrace_filter"},
		{"kprobe", tracing + "echo 'p:beside do_sys_openat2' >kprobe_events && echo 1 >events/kprobes/beside/enable",
			tracing + "echo 0 >events/kprobes/beside/enable && echo >kprobe_events"},
		{"BPF", "probe fentry ima_file_mmap /tmp/stop >/tmp/fentry 2>&1 & until [ -s /tmp/fentry ]; do sleep 0.1; done; grep attached /tmp/fentry", "echo >/tmp/stop"},
		{"static keys", "echo 1 >/proc/sys/kernel/sched_schedstats && " + tracing + "echo 1 >events/enable", tracing + "echo 0 >events/enable"},
		{"modules", "modprobe nls_utf8 && modprobe dummy", "rmmod dummy"},
		{"load", "for i in 1 2 3; do (while [ ! -e /tmp/idle ]; do :; done) </dev/null >/dev/null 2>&1 & done; true", "touch /tmp/idle"},
		{"programs", "/opt/t/program/good", "true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v.t, e.v.t = t, t
			v.expect(0, c.begin)
			v.awaitStops(4)
			v.expect(0, c.end)
			v.awaitStops(2)
			v.expectDenied("/opt/t/program/unsigned")
		})
	}
	t.Run("shutdown", func(t *testing.T) {
		v.t, e.v.t = t, t
		v.send("systemctl poweroff --force --force")
		e.awaitExit(0)
	})
}

// TestQuiet: a guest that does nothing for ten minutes is looked at all the time, and stays as it is.
func TestQuiet(t *testing.T) {
	t.Parallel()
	v, e := bootGuarded(t, newGuard(t, theGuest(t), "6.1"), options{readonly: true}, "--device", systemDisk, "--heartbeat", "5")
	for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
		v.awaitStops(1)
	}
	v.expect(0, "/opt/t/program/good")
	expectNoDenial(t, e)
}
