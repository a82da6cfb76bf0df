package enforce

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestLibvirt guards a domain of libvirt, as enforcer/README.md defines it.
func TestLibvirt(t *testing.T) {
	t.Parallel()
	bed.Need(t, "virsh", "libvirtd")
	g := theGuest(t)
	l := newLibvirt(t)
	t.Run("life", func(t *testing.T) {
		gd := newGuard(t, g, "6.1")
		v, e := l.bootGuarded(t, gd, "life")
		v.awaitReady()
		expectNoDenial(t, e)
		var changed []string // each is denied once in this test
		for _, k := range g.kindsFor("6.1") {
			for _, c := range signatureCases {
				if !c.allowed && k.name != "library" {
					changed = append(changed, k.use(c.name))
				}
			}
		}
		guarded := func(after string) {
			t.Helper()
			v.expect(0, "/opt/t/program/good")
			if out, code := v.run(changed[0]); code == 0 || !strings.Contains(out, "ermission denied") {
				t.Errorf("after %s, %s: exit code %d\n%s", after, changed[0], code, out)
			}
			changed = changed[1:]
		}
		guarded("booting")

		l.virsh(t, "suspend", "life")
		l.expectState(t, "life", "paused")
		l.virsh(t, "resume", "life")
		guarded("virsh suspend and resume")

		l.virsh(t, "snapshot-create-as", "life", "s1", "--memspec", "file="+filepath.Join(v.dir, "memory")+",snapshot=external", "--diskspec", "vda,snapshot=no")
		l.expectState(t, "life", "running")
		guarded("a snapshot")

		disk := makeData(t, v.dir)
		must(t, os.Chown(disk, bed.Nobody, bed.Nobody))
		l.virsh(t, "attach-disk", "life", disk, "vdb", "--targetbus", "virtio", "--driver", "qemu", "--subdriver", "raw")
		v.expect(0, "until [ -b /dev/vdb ]; do :; done; mount /dev/vdb /data && probe copy /opt/t/program/good /data/good")
		v.expectDenied("/data/good")
		v.expect(0, "umount /data")
		l.virsh(t, "detach-disk", "life", "vdb")
		guarded("a disk")

		l.virsh(t, "setvcpus", "life", "2", "--live")
		v.send("cd /sys/devices/system/cpu && while ! [ -e cpu1/online ]; do :; done; echo 1 >cpu1/online")
		e.awaitExit(4)
		l.expectState(t, "life", "paused")
		if said := e.log.String(); !strings.Contains(said, "plugged in") {
			t.Errorf("the enforcer says: %s", said)
		}
		l.virsh(t, "destroy", "life")
	})
	t.Run("destroyed", func(t *testing.T) {
		gd := newGuard(t, g, "6.1")
		_, e := l.bootGuarded(t, gd, "destroyed")
		e.await(0, "a verified program", func(r record) bool { return r.Verdict == "allow" && r.Digest != "" })
		l.virsh(t, "destroy", "destroyed")
		e.awaitExit(0)
	})
}

// libvirt is a libvirtd of an ordinary user, apart from any that the machine has.
type libvirt struct {
	dir         string
	environment []string
}

// newLibvirt starts it, and waits until it says that it is ready (sd_notify(3)).
func newLibvirt(t *testing.T) *libvirt {
	t.Helper()
	dir := bed.Dir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	l := &libvirt{dir: dir, environment: []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "HOME=" + dir, "XDG_RUNTIME_DIR=" + in("run"),
		"XDG_CONFIG_HOME=" + in("config"), "XDG_CACHE_HOME=" + in("cache"), "XDG_DATA_HOME=" + in("data"), "NOTIFY_SOCKET=" + in("notify")}}
	must(t, os.MkdirAll(in("config/libvirt"), 0o700))
	must(t, os.Mkdir(in("run"), 0o700))
	must(t, os.WriteFile(in("config/libvirt/qemu.conf"), []byte("stdio_handler = \"file\"\n"), 0o600)) // no virtlogd
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: in("notify")})
	must(t, err)
	defer ready.Close()
	must(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, bed.Nobody, bed.Nobody)
	}))
	cmd := l.command("libvirtd")
	log := newStream()
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	must(t, ready.SetReadDeadline(time.Now().Add(hostLimit)))
	said := make([]byte, 4096)
	if n, err := ready.Read(said); err != nil || !strings.Contains(string(said[:n]), "READY=1") {
		t.Fatalf("libvirtd says %q, %v: %s", said[:n], err, log)
	}
	return l
}

func (l *libvirt) command(name string, args ...string) *exec.Cmd {
	cmd := bed.Peer(name, args...)
	cmd.Env = l.environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: bed.Nobody, Gid: bed.Nobody}}
	return cmd
}

func (l *libvirt) virsh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := bed.Output(l.command("virsh", append([]string{"--connect", "qemu:///session"}, args...)...))
	if err != nil {
		t.Fatalf("virsh %q: %v", args, err)
	}
	return string(out)
}

func (l *libvirt) expectState(t *testing.T, name, want string) {
	t.Helper()
	if got := strings.TrimSpace(l.virsh(t, "domstate", name)); got != want {
		t.Errorf("libvirt says that %s is %s, want %s", name, got, want)
	}
}

// domain is the domain of enforcer/README.md, with files of this test, room for a second virtual CPU, emulated, and with two
// ports through which the test talks with the guest.
func (l *libvirt) domain(t *testing.T, v *vm, gd *guard, name string) string {
	t.Helper()
	page, err := os.ReadFile("../../enforcer/README.md")
	must(t, err)
	xml := regexp.MustCompile("(?s)```xml\n(.*?)```").FindSubmatch(page)
	if xml == nil {
		t.Fatal("enforcer/README.md has no domain")
	}
	k, initrd := gd.guest.kernels[gd.kernel], filepath.Join(v.dir, "initrd")
	must(t, concatenate(initrd, k.initrd, gd.overlay))
	text := string(xml[1])
	port := "    <serial type='unix'><source mode='connect' path='%s'/></serial>\n"
	for _, r := range [][2]string{
		{"type='kvm'", "type='qemu'"},
		{"<name>web<", "<name>" + name + "<"},
		{"<vcpu>1<", "<vcpu current='1'>2<"},
		{"/srv/web/vmlinuz", k.image},
		{"/srv/web/guest.initrd", initrd},
		{"/srv/web/signed.img", gd.guest.image},
		{"/run/vmseal/web.gdb", v.gdb},
		{"  </cpu>\n", "    <feature policy='disable' name='cx16'/>\n    <feature policy='disable' name='la57'/>\n  </cpu>\n"},
		{"  </devices>\n", fmt.Sprintf(port+port, filepath.Join(v.dir, "console"), filepath.Join(v.dir, "agent")) + "  </devices>\n"},
	} {
		if strings.Count(text, r[0]) != 1 {
			t.Fatalf("the domain of enforcer/README.md has %d times %q", strings.Count(text, r[0]), r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	return text
}

// bootGuarded starts the domain paused, and an enforcer, which lets it run.
func (l *libvirt) bootGuarded(t *testing.T, gd *guard, name string) (*vm, *enforcer) {
	t.Helper()
	v := &vm{t: t, guest: gd.guest, dir: bed.Dir(t), console: newStream(), log: newStream(), exited: make(chan struct{})}
	must(t, os.Chown(v.dir, bed.Nobody, bed.Nobody))
	v.gdb = filepath.Join(v.dir, "gdb")
	v.address = "gdb:unix:" + v.gdb
	console, agent := v.listen("console"), v.listen("agent")
	for _, name := range []string{"console", "agent"} {
		must(t, os.Chmod(filepath.Join(v.dir, name), 0o777))
	}
	file := filepath.Join(v.dir, "domain.xml")
	must(t, os.WriteFile(file, []byte(l.domain(t, v, gd, name)), 0o644))
	l.virsh(t, "define", file)
	l.virsh(t, "start", "--paused", name)
	t.Cleanup(func() { l.command("virsh", "--connect", "qemu:///session", "destroy", name).Run() })
	go v.console.follow(v.accept(console))
	v.agent = v.accept(agent)
	v.answers = bufio.NewReader(v.agent)
	return v, startEnforcer(t, v, gd, "--device", systemDisk)
}
