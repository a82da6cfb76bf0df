package enforce

import (
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestReads enforces with a policy by which nothing of the system's file system can be read without a signature, however a
// process goes about it. Files that the guest makes elsewhere are not asked about.
func TestReads(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	for _, by := range []string{"all", "root"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			gd := newGuard(t, g, "6.1")
			gd.setReadsPolicy(t, by)
			begin := time.Now()
			v, e := bootGuarded(t, gd, options{readonly: true, data: makeData(t, gd.dir)}, "--device", systemDisk)
			reads := 0
			for _, r := range e.records() {
				if r.Type == "hit" && r.Func == "FILE_CHECK" {
					reads++
				}
			}
			t.Logf("ready after %v, %s, %d for reading", time.Since(begin).Round(100*time.Millisecond), tally(e.records()), reads)
			v.expectHealthy(options{kernel: "6.1", readonly: true})
			expectNoDenial(t, e)
			v.expectReads(e)
			if by == "root" {
				v.expect(0, "setpriv --reuid=65534 --clear-groups cat "+data.path("changed"))
			} else {
				v.expectUnreadable("setpriv --reuid=65534 --clear-groups cat " + data.path("changed"))
			}
			v.expectNotAsked(e)
			v.send("systemctl poweroff --force --force")
			e.awaitExit(0)
		})
	}
}

// setReadsPolicy gives the guest the policy that appraises reading, too.
func (gd *guard) setReadsPolicy(t *testing.T, by string) {
	t.Helper()
	uuid, err := bed.Output(bed.Peer("blkid", "-p", "-s", "UUID", "-o", "value", gd.guest.image))
	must(t, err)
	rules, err := bed.Output(bed.AsNobody("imagetool", "initrd", "--print-policy", "--reads", strings.TrimSpace(string(uuid)), "--reads-by", by))
	must(t, err)
	gd.setPolicy(t, string(rules))
}

// expectReads reads what is signed, and fails to read what was changed on the disk, in every way.
func (v *vm) expectReads(e *enforcer) {
	t := v.t
	t.Helper()
	script := func(name string) string { return kind{name: "script", ending: ".sh"}.path(name) }
	for _, c := range []struct {
		what, command string
		path          func(name string) string
	}{
		{"data", "cat ", data.path},
		{"a script for a shell", "sh ", script},
		{"configuration", ". ", data.path},
		{"a script in Perl", `perl -e 'open(F, "<", shift) or die $!; print <F>' `, data.path},
		{"a mapping", "probe mmap-read ", data.path},
		{"io_uring", "probe uring-read ", data.path},
		{"sendfile", "probe sendfile ", data.path},
	} {
		t.Run(c.what, func(t *testing.T) {
			v.t = t
			v.expect(0, c.command+c.path("good"))
			for _, name := range []string{"changed", "unsigned", "digest", "foreign-key"} {
				before := len(e.records())
				v.expectUnreadable(c.command + c.path(name))
				e.await(before, "denying "+c.path(name), func(r record) bool {
					return r.Verdict == "deny" && r.Path == c.path(name) && r.Func == "FILE_CHECK"
				})
			}
		})
	}
	v.t = t
	// The kernel reads a file to appraise it, and refuses to when the file was opened with O_DIRECT.
	direct := "probe direct-read " + data.path("second-key")
	v.expectUnreadable(direct)
	v.expect(0, "cat "+data.path("second-key"))
	v.expect(0, direct)
	v.expectUnreadable("probe direct-read " + data.path("changed"))
}

// expectUnreadable runs a command that fails for want of permission.
func (v *vm) expectUnreadable(command string) {
	v.t.Helper()
	if out, code := v.run("( " + command + " ) 2>&1"); code == 0 || !strings.Contains(out, "ermission denied") && !strings.Contains(out, "EACCES") {
		v.t.Errorf("%s: exit code %d, want a failure for want of permission:\n%s", command, code, out)
	}
}

// expectNotAsked uses files on other disks, of which nothing is in the audit.
func (v *vm) expectNotAsked(e *enforcer) {
	v.t.Helper()
	v.expect(0, "mount /dev/vdb /data && cat /data/* >/dev/null 2>&1; echo a=b >/tmp/file && . /tmp/file")
	before := len(e.records())
	v.expect(0, "echo a=b >/data/file && . /data/file && cat /data/file /tmp/file /proc/uptime /sys/kernel/uevent_seqnum && echo more >>/data/file")
	for _, r := range e.records()[before:] {
		if !strings.HasPrefix(r.Path, "/usr/") && r.Type == "hit" { // cat
			v.t.Errorf("the enforcer was asked: %+v", r)
		}
	}
}
