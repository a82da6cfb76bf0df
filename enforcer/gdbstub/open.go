package gdbstub

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience covers that QEMU flushes the guest's disks when it stops, and does
	// nothing else meanwhile.
	patience = 30 * time.Second

	packetSize = 4096     // MAX_PACKET_LENGTH; 0x20020 from QEMU 11 on
	maxXML     = 64 << 10 // of a description of registers; QEMU's has 10 KiB
	maxThreads = 4096     // virtual CPUs of any machine that QEMU has
	process    = "p01."   // what all ids of an x86 machine's virtual CPUs begin with
)

// Dial opens the guest behind the unix socket of QEMU's -gdb.
func Dial(path string) (*Guest, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connecting to QEMU at %s: %w", path, err)
	}
	g := newGuest(fd)
	g.identify()
	return g.opened()
}

// OpenFD opens the guest at the other end of a socket pair. The descriptor is the
// Guest's from then on, also after an error.
func OpenFD(fd int) (*Guest, error) {
	unix.CloseOnExec(fd)
	return newGuest(fd).opened()
}

func newGuest(fd int) *Guest {
	return &Guest{Trap: Hardware, c: conn{fd: fd, patience: patience}, selected: -1}
}

func (g *Guest) opened() (*Guest, error) {
	if err := g.begin(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Guest) begin() error {
	c := &g.c
	if err := c.sync(); err != nil {
		return fmt.Errorf("speaking to QEMU, which serves one debugger at a time: %w", err)
	}
	c.ask("qSupported:multiprocess+")
	var size int
	if p := c.reply(); c.err == nil {
		if _, err := fmt.Sscanf(string(p), "PacketSize=%x;", &size); err != nil || size < packetSize {
			c.fail(fmt.Errorf("it says of itself %q, where packets of %d bytes are needed", p[:min(len(p), 256)], packetSize))
		}
	}
	c.order("Qqemu.PhyMemMode:0") // who was here before may have died in the middle of ReadImage
	g.checkRegisters()
	g.listThreads()
	g.askState()
	g.paused = g.isPaused(g.takeState())
	return c.err
}

// checkRegisters reads the description of the registers, without which the stub
// takes no P, and which no other architecture has.
func (g *Guest) checkRegisters() {
	var xml []byte
	for next, more := 0, true; more; {
		g.c.ask("qXfer:features:read:i386-64bit.xml:%x,%x", next, packetSize/2)
		p := g.c.reply()
		more = len(p) > 1 && p[0] == 'm' && len(xml) < maxXML
		if !more && !bytes.HasPrefix(p, []byte("l")) {
			g.c.refuse(p)
			return
		}
		xml = append(xml, p[1:]...)
		next += len(p) - 1 - bytes.Count(p, []byte("}")) // with which it escapes
	}
	list := strings.Split(string(xml), "<reg ")[1:]
	for i, name := range registerNames {
		want := fmt.Sprintf("name=%q bitsize=\"%d\"", name, map[bool]int{true: 64, false: 32}[i <= numRIP])
		if i >= len(list) || !strings.HasPrefix(list[i], want) {
			g.c.fail(fmt.Errorf("register %d of %d is not %s", i, len(list), want))
		}
	}
}

// listThreads finds the ids by which the stub names virtual CPUs.
func (g *Guest) listThreads() {
	for next := 'f'; g.c.err == nil; next = 's' {
		g.c.ask("q%cThreadInfo", next)
		p := string(g.c.reply())
		if p == "l" && len(g.threads) > 0 {
			return
		}
		id, ok := strings.CutPrefix(p, "m")
		if !ok || !strings.HasPrefix(id, process) || len(g.threads) == maxThreads {
			g.c.refuse([]byte(p))
		}
		g.threads = append(g.threads, id)
	}
}

// identify learns of the process that listens at the other end: its command line, and as its
// name what no two processes of a host have in common: its id, when it was started (field 22 of
// proc(5)'s stat), and the boot of the host.
func (g *Guest) identify() {
	cred, err := unix.GetsockoptUcred(g.c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || cred.Pid <= 0 {
		return
	}
	g.c.peer, _ = unix.PidfdOpen(int(cred.Pid), 0)
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cred.Pid)) // empty if it cannot be read
	g.command = strings.Split(string(text), "\x00")
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cred.Pid))
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	// The name of the program, field 2, is in parentheses and may hold any.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) >= 20 && len(boot) > 0 {
		g.id = fmt.Sprintf("pid %d start %s boot %s", cred.Pid, fields[22-3], bytes.TrimSpace(boot))
	}
}

// option gives what stands behind each option of that name on QEMU's command line.
func (g *Guest) option(name string) (values []string) {
	for i, word := range g.command {
		if (word == "-"+name || word == "--"+name) && i+1 < len(g.command) {
			values = append(values, g.command[i+1])
		}
	}
	return values
}

// Warnings tells of a guest that waits for its host, and what QEMU's command line leaves to root in it, or that it cannot be read.
func (g *Guest) Warnings() (all []string) {
	if g.paused {
		all = append(all, "the guest is paused, by its host or since an enforcer was killed, and waits to be continued ('cont' in QEMU's monitor, 'virsh resume')")
	}
	if len(g.command) < 2 {
		return append(all, "QEMU's command line cannot be read: whether it has -no-reboot, and -cpu with svm=off,vmx=off, is not known")
	}
	if g.option("no-reboot") == nil && !strings.Contains(strings.Join(g.option("action"), ","), "reboot=shutdown") {
		all = append(all, "QEMU was started without -no-reboot: a guest that reboots is not looked at anew, and with KASLR it runs past its traps then")
	}
	cpu := strings.Split(strings.Join(g.option("cpu"), ","), ",")
	off := func(flag string) bool { return slices.Contains(cpu, flag+"=off") || slices.Contains(cpu, "-"+flag) }
	if !off("svm") || !off("vmx") {
		all = append(all, "QEMU was started without svm=off,vmx=off behind -cpu: "+
			"on a CPU that has one of them root in the guest can run guests of its own, which can forge lines of the audit, but no verdicts")
	}
	return all
}
