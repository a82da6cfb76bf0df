package enforce

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// How long things may take at most. Guests are emulated, several tests may share two cores: only a hang is that slow.
const (
	bootLimit    = 20 * time.Minute
	commandLimit = 10 * time.Minute
	hostLimit    = 5 * time.Minute // what QEMU itself answers
)

// options of a boot.
type options struct {
	guest    *guest
	qemu     string // the program; that of VMSEAL_QEMU, or the installed one, if empty
	kernel   string // "6.1" or "6.12"; 6.1 if empty
	dracut   bool   // the initrd of dracut
	overlay  string // a cpio archive behind the initrd
	prepared string // a folder of 'imagetool prepare': its kernel, initrd and parameters, and no overlay
	cmdline  string // more words for the kernel
	disk     string // instead of the guest's
	format   string // of that; raw if empty
	readonly bool   // the system disk
	strict   bool   // the enforcer is not to accept a system disk that can be written to
	scsi     bool   // the system disk is sda
	data     string // an image for a second disk, whose changes are kept
	vcpus    int    // 1 if 0
	maxVCPUs int    // how many there are room for; vcpus if 0
	stopped  bool   // wait for a debugger's first command before the first instruction
	noWait   bool   // do not wait until the guest is ready

	disks []string // images of more disks, read-only
}

// vm is a running guest.
type vm struct {
	t        *testing.T
	owner    *testing.T // the guest and its enforcers end with it, where t is a part of it
	guest    *guest
	accepted []string // by the enforcer, of this guest
	dir      string
	gdb      string // the socket that a debugger connects to
	address  string // the guest as the enforcer's command line names it
	console  *stream
	log      *stream // what QEMU itself says
	agent    conversation
	answers  *bufio.Reader
	qmp      *qmp
	process  *os.Process
	exited   chan struct{}

	enforcer *enforcer // whose log belongs to a failure of the guest, if it has one
}

// conversation is a socket or a terminal.
type conversation interface {
	io.ReadWriter
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// boot starts a guest, which ends with the test, and waits until it is ready unless told not to.
func boot(t *testing.T, o options) *vm {
	t.Helper()
	v := &vm{t: t, owner: t, guest: o.guest, dir: bed.Dir(t), console: newStream(), log: newStream(), exited: make(chan struct{})}
	v.gdb = filepath.Join(v.dir, "gdb")
	if !o.readonly && !o.strict {
		v.accepted = []string{"--writable"}
	}
	v.address = "gdb:unix:" + v.gdb
	console, agent, monitor := v.listen("console"), v.listen("agent"), v.listen("qmp")
	v.start(cmp.Or(o.qemu, os.Getenv("VMSEAL_QEMU"), "qemu-system-x86_64"), o.arguments(v))
	t.Cleanup(v.kill)
	go v.console.follow(v.accept(console))
	v.agent = v.accept(agent)
	v.answers = bufio.NewReader(v.agent)
	v.qmp = newQMP(v, v.accept(monitor))
	if !o.noWait {
		v.awaitReady()
	}
	return v
}

// accelerator is what QEMU runs guests with: VMSEAL_ACCEL (kvm), or its own emulation.
var accelerator = cmp.Or(os.Getenv("VMSEAL_ACCEL"), "tcg")

// cpu is what the emulator can do, but for page tables of five levels, which cost time, and for CMPXCHG16B: with QEMU 7.2
// an interrupt that comes right behind one finds garbage in EFLAGS, now and then (the helper takes flags from a state that
// is not up to date). Linux's allocator uses it wherever there is one. Guests of the guest it is not to have.
const cpu = "max,la57=off,cx16=off,svm=off,vmx=off"

func (o options) arguments(v *vm) []string {
	if o.kernel == "" {
		o.kernel = "6.1"
	}
	kernel, initrd := o.guest.kernels[o.kernel].image, o.guest.kernels[o.kernel].initrd
	if o.dracut {
		initrd = o.guest.dracut
	}
	if o.prepared != "" {
		kernel, initrd = filepath.Join(o.prepared, "vmlinuz"), filepath.Join(o.prepared, "initrd")
	} else if o.overlay != "" {
		joined := filepath.Join(v.dir, "initrd")
		must(v.t, concatenate(joined, initrd, o.overlay))
		initrd = joined
	}
	disk := o.disk
	if disk == "" {
		disk = o.guest.image
	}
	words := "console=ttyS0 panic=-1 no_timer_check" // on a busy machine the guest's kernel would give up waiting for ticks
	if !strings.Contains(o.cmdline, "kaslr") {
		words += " nokaslr"
	}
	drive := "id=system,format=" + cmp.Or(o.format, "raw") + ",file=" + disk
	if o.readonly {
		words += " ro systemd.volatile=state"
		drive += ",readonly=on"
	} else {
		words += " rw"
		drive += ",snapshot=on"
	}
	args := []string{
		"-nodefaults", "-machine", "pc,accel=" + accelerator, "-cpu", cpu, "-m", "1G", "-smp", fmt.Sprintf("%d,maxcpus=%d,sockets=1,threads=1", max(o.vcpus, 1), max(o.vcpus, o.maxVCPUs, 1)),
		"-display", "none", "-no-reboot",
		"-kernel", kernel, "-initrd", initrd,
		"-chardev", "socket,id=console,path=" + filepath.Join(v.dir, "console"), "-serial", "chardev:console",
		"-chardev", "socket,id=agent,path=" + filepath.Join(v.dir, "agent"), "-serial", "chardev:agent",
		"-chardev", "socket,id=qmp,path=" + filepath.Join(v.dir, "qmp"), "-mon", "chardev=qmp,mode=control",
		"-gdb", "unix:" + v.gdb + ",server=on,wait=off",
	}
	if o.scsi {
		words += " root=/dev/sda"
		args = append(args, "-drive", drive+",if=none", "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=system")
	} else {
		words += " root=/dev/vda"
		args = append(args, "-drive", drive+",if=virtio")
	}
	args = append(args, "-append", strings.TrimSpace(words+" "+o.cmdline))
	if o.data != "" {
		args = append(args, "-drive", "if=virtio,format=raw,file="+o.data)
	}
	for _, disk := range o.disks {
		args = append(args, "-drive", "if=virtio,format=raw,readonly=on,file="+disk)
	}
	if o.stopped {
		args = append(args, "-S")
	}
	return args
}

// listen opens a socket that QEMU will connect to.
func (v *vm) listen(name string) *net.UnixListener {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(v.dir, name)})
	must(v.t, err)
	v.t.Cleanup(func() { l.Close() })
	return l
}

// accept waits for QEMU to connect, or to end.
func (v *vm) accept(l *net.UnixListener) net.Conn {
	v.t.Helper()
	l.SetDeadline(time.Now().Add(hostLimit))
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-v.exited:
			l.Close()
		case <-done:
		}
	}()
	conn, err := l.Accept()
	if err != nil {
		v.t.Fatalf("QEMU does not connect: %v\n%s", err, v.log)
	}
	v.t.Cleanup(func() { conn.Close() })
	return conn
}

// start runs QEMU, which ends with this process.
func (v *vm) start(qemu string, args []string) {
	v.t.Helper()
	cmd := bed.Peer(qemu, args...)
	cmd.Env = append(cmd.Env, "TMPDIR="+v.dir) // for the snapshot
	cmd.Stdout, cmd.Stderr = v.log, v.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig is bound to the thread that started the child: it must live as long
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(v.exited)
	}()
	must(v.t, <-started)
	v.process = cmd.Process
}

func (v *vm) kill() {
	v.process.Kill()
	<-v.exited
}

// fatal ends the test with the end of the console.
func (v *vm) fatal(format string, args ...any) {
	v.t.Helper()
	guarded := ""
	if v.enforcer != nil {
		guarded = fmt.Sprintf("\nthe enforcer says: %s\nits audit ends with:\n%s", v.enforcer.log, tail(v.enforcer.audit.String(), 2000))
	}
	v.t.Fatalf("%s\nQEMU says: %s%s\nthe console ends with:\n%s", fmt.Sprintf(format, args...), v.log, guarded, tail(v.console.String(), 6000))
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (v *vm) awaitReady() {
	v.t.Helper()
	if line := v.answer(bootLimit); line != "READY" {
		v.fatal("the guest said %q, want READY", line)
	}
}

// run has a shell in the guest do something, and gives what it printed and its exit code.
func (v *vm) run(command string) (string, int) {
	v.t.Helper()
	v.send(command)
	return v.result()
}

// send and result are the two halves of run, for commands during which the guest freezes.
func (v *vm) send(command string) {
	v.t.Helper()
	v.agent.SetWriteDeadline(time.Now().Add(hostLimit))
	if _, err := fmt.Fprintln(v.agent, base64.StdEncoding.EncodeToString([]byte(command))); err != nil {
		v.fatal("sending %q: %v", command, err)
	}
}

func (v *vm) result() (string, int) {
	v.t.Helper()
	line := v.answer(commandLimit)
	encoded, number, _ := strings.Cut(line, " ")
	out, err := base64.StdEncoding.DecodeString(encoded)
	code, err2 := strconv.Atoi(number)
	if err := errors.Join(err, err2); err != nil {
		v.fatal("the guest's answer %q: %v", line, err)
	}
	return string(out), code
}

func (v *vm) answer(limit time.Duration) string {
	v.t.Helper()
	v.agent.SetReadDeadline(time.Now().Add(limit))
	line, err := v.answers.ReadString('\n')
	if err != nil {
		v.fatal("waiting for the guest: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// expect runs a command that must end with the exit code, and gives what it printed.
func (v *vm) expect(code int, command string) string {
	v.t.Helper()
	out, got := v.run(command)
	if got != code {
		v.t.Errorf("%s: exit code %d, want %d:\n%s", command, got, code, out)
	}
	return out
}

// awaitEnd waits until QEMU has ended.
func (v *vm) awaitEnd() {
	v.t.Helper()
	select {
	case <-v.exited:
	case <-time.After(commandLimit):
		v.fatal("the guest does not end")
	}
}

// concatenate joins cpio archives: each begins at a multiple of 4 bytes.
func concatenate(to string, from ...string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	for _, name := range from {
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		n, err := io.Copy(out, in)
		if err := errors.Join(err, in.Close()); err != nil {
			return err
		}
		if _, err := out.Write(make([]byte, (4-n%4)%4)); err != nil {
			return err
		}
	}
	return out.Close()
}
