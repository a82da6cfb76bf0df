package enforce

import (
	"strings"
	"testing"
)

// TestDenied: see tryUnsigned.
func TestDenied(t *testing.T) {
	t.Parallel()
	gd := newGuard(t, theGuest(t), "6.1")
	v, e := bootGuarded(t, gd, options{})
	v.tryUnsigned()
	e.expectCounts(v)
}

// tryUnsigned tries to execute what is not a signed file on the disk, in ways that guest root has without any trick.
func (v *vm) tryUnsigned() {
	v.t.Helper()
	for _, c := range []struct{ name, command, says string }{
		{"copy in memory", "cp /opt/t/program/good /dev/shm/copy && /dev/shm/copy", "ermission denied"},
		{"copy on the disk", "cp /opt/t/program/good /root/copy && /root/copy", "ermission denied"},
		{"file without a name", "probe memfd /opt/t/program/good", "EACCES"},
		{"program through ld.so", "/lib64/ld-linux-x86-64.so.2 /opt/t/program/unsigned", "failed to map segment"},
		{"library from the environment", "cp /opt/t/library/good.so /tmp/l.so && LD_PRELOAD=/tmp/l.so /usr/bin/true 2>&1 | grep . && false", "failed to map segment"},
		{"program on a block device", "cp /opt/t/program/unsigned /tmp/raw && losetup /dev/loop7 /tmp/raw && /lib64/ld-linux-x86-64.so.2 /dev/loop7", "failed to map segment"},
		{"mapping", "probe mmap-exec /opt/t/program/unsigned", "EACCES"},
		{"mapping made executable later", "probe mprotect-exec /opt/t/program/unsigned", "EPERM"},
		{"module as a file", "probe finit-module /opt/t/module-6.1/unsigned.ko", "EACCES"},
		{"module as contents", "probe init-module /opt/t/module-6.1/unsigned.ko", "EACCES"},
		{"signed module as contents", "probe init-module /opt/t/module-6.1/good.ko", "EACCES"},
		{"new script", "printf '#!/bin/sh\necho no\n' >/root/s && chmod +x /root/s && /root/s", "ermission denied"},
		{"boot with kexec_load", "probe kexec-load", "EPERM"},
		{"boot with kexec_file_load", "probe kexec-file-load /boot/vmlinuz-$(uname -r) /boot/initrd.img-$(uname -r) rdinit=/bin/sh", "EPERM"},
	} {
		v.t.Run(c.name, func(t *testing.T) {
			out, code := v.run(c.command)
			if code == 0 || !strings.Contains(out, c.says) {
				t.Errorf("%s: exit code %d, want a failure that says %q:\n%s", c.command, code, c.says, out)
			}
		})
	}
	// The same commands with what is signed, so that it was not the command that failed.
	v.expect(0, "/lib64/ld-linux-x86-64.so.2 /opt/t/program/good")
	v.expect(0, "probe mmap-exec /opt/t/program/good")
	v.expect(0, "dd if=/dev/loop7 of=/tmp/read && cmp /dev/loop7 /tmp/read 2>&1")
	v.expect(0, "probe finit-module /opt/t/module-6.1/good.ko")
}

// expectCounts compares the enforcer's lines with what QEMU has counted, which throws away its translated code at each
// stop for a trap; then it ends the guest, and compares them with the enforcer's sums.
func (e *enforcer) expectCounts(v *vm) {
	v.t.Helper()
	least := e.hits()
	flushes := v.flushes()
	const full = 5  // times at most that it does so because its buffer is full
	const beats = 3 // hits at most that it does not count: a heartbeat stopped the guest just there
	if most := e.hits(); flushes < least-beats || flushes > most+full {
		v.t.Errorf("QEMU stopped for %d traps, the audit has %d to %d lines for hits", flushes, least, most)
	}
	v.send("systemctl poweroff --force --force")
	e.awaitExit(0)
	v.awaitEnd()
	counted, sum := record{}, record{}
	for _, r := range e.records() {
		switch r.Type {
		case "hit":
			counted.Hits++
		case "summary":
			sum = r
		}
		switch r.Verdict {
		case "allow":
			counted.Allowed++
		case "deny":
			counted.Denied++
		case "pass":
			counted.Passed++
		}
	}
	sum.Type, sum.Guest, sum.UserJumps = "", "", 0
	if sum != counted {
		v.t.Errorf("the summary is %+v, but the lines are %+v", sum, counted)
	}
}

// hits is the number of lines for hits.
func (e *enforcer) hits() (n int) {
	for _, r := range e.records() {
		if r.Type == "hit" {
			n++
		}
	}
	return n
}
