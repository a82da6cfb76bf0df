package gdbstub

import (
	"bufio"
	"cmp"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// The firmware of testdata/boot.S, and addresses in it.
//
//go:embed testdata/boot.hex
var bootHex string

const (
	others   = 0xf0125
	again    = 0xf0139
	hook     = 0xf0160 // label func
	step     = 0xf0180
	watch    = 0xf01a0
	returned = 0x6000 // number of returns of func, 8 bytes for each processor
	bodies   = 0x6100 // number of runs of its body
	sums     = 0x6200 // sum of the returned values
	starts   = 0x6300 // number of starts
	steps    = 0x6400 // number of single steps
	stops    = 0x6500 // number of hits of a breakpoint of its own
	readBack = 0x6600 // its DR0 and DR7
	nopSize  = 5
	body     = 3 // return value of its body
)

// machine is a QEMU process that runs the firmware.
type machine struct {
	cmd  *exec.Cmd
	path string // of the gdb stub's socket
	qmpW io.Writer
	qmpR *bufio.Reader
}

// qemu returns the emulator for the tests: VMSEAL_QEMU (scripts/qemu builds some), or the installed
// one.
func qemu() string { return cmp.Or(os.Getenv("VMSEAL_QEMU"), "qemu-system-x86_64") }

func needTool(t testing.TB, name string) {
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%s is required: %v", name, err)
		}
		t.Skipf("needs %s: %v", name, err)
	}
}

// firmware writes a 64 KiB image that begins with the program of boot.S.
func firmware(t testing.TB) string {
	code, err := hex.DecodeString(strings.ReplaceAll(bootHex, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	image := make([]byte, 64<<10)
	copy(image, code)
	copy(image[0xfff0:], "\xea\x00\x00\x00\xf0") // jmp f000:0000
	path := filepath.Join(t.TempDir(), "firmware")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// boot starts a machine that waits before its first instruction.
func boot(t testing.TB, processors int, args ...string) *machine {
	needTool(t, qemu())
	dir, err := os.MkdirTemp("", "gdbstub") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{path: filepath.Join(dir, "gdb")}
	m.start(t, nil, append([]string{"-smp", fmt.Sprint(processors), "-bios", firmware(t),
		"-gdb", "unix:" + m.path + ",server=on,wait=off"}, args...)...)
	return m
}

func (m *machine) start(t testing.TB, files []*os.File, args ...string) {
	m.cmd = exec.Command(qemu(), append([]string{"-S", "-machine", "pc,accel=" + accelerator(), "-m", "16", "-nodefaults",
		"-display", "none", "-no-reboot", "-qmp", "stdio"}, args...)...)
	m.cmd.ExtraFiles = files
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := m.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.qmpW, m.qmpR = in, bufio.NewReader(out)
	t.Cleanup(m.kill)
	m.qmp(t, "qmp_capabilities")
	m.qmp(t, "query-status") // is answered once everything is set up
}

func (m *machine) kill() {
	m.cmd.Process.Kill()
	m.cmd.Wait()
}

// await reads events of QEMU's monitor until it finds the given one.
func (m *machine) await(t testing.TB, event string) {
	t.Helper()
	for {
		line, err := m.qmpR.ReadString('\n')
		if err != nil {
			t.Fatalf("QEMU's monitor: waiting for %s: %v", event, err)
		}
		if strings.Contains(line, fmt.Sprintf("\"event\": %q", event)) {
			return
		}
	}
}

// qmp executes a command of QEMU's monitor, with at most one object of arguments, and returns the
// result.
func (m *machine) qmp(t testing.TB, command string, arguments ...map[string]any) map[string]any {
	t.Helper()
	request := map[string]any{"execute": command}
	for _, a := range arguments {
		request["arguments"] = a
	}
	if err := json.NewEncoder(m.qmpW).Encode(request); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := m.qmpR.ReadBytes('\n')
		if err != nil {
			t.Fatalf("QEMU's monitor: %s: %v", command, err)
		}
		var reply struct {
			Return any
			Error  any
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			t.Fatal(err)
		}
		if reply.Error != nil {
			t.Fatalf("QEMU's monitor: %s: %v", command, reply.Error)
		}
		switch r := reply.Return.(type) {
		case map[string]any:
			return r
		case string: // human-monitor-command
			return map[string]any{"text": r}
		}
	}
}

func (m *machine) dial(t testing.TB) *Guest {
	t.Helper()
	g, err := Dial(m.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// goOn continues a guest if the new connection could not tell whether it ran before.
func (m *machine) goOn(t testing.TB, g *Guest) {
	t.Helper()
	if g.paused {
		m.qmp(t, "cont")
	}
}

func plant(t testing.TB, g *Guest, addrs ...uint64) {
	t.Helper()
	if err := g.Plant(addrs); err != nil {
		t.Fatal(err)
	}
}

// runToHit runs until there is a hit, which must be at hook.
func runToHit(t testing.TB, g *Guest) guest.Stop {
	t.Helper()
	s, err := g.Run(0)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Hit || s.Regs.RIP != hook || s.Regs.CPL() != 0 || s.Regs.RSP != 0x7c00-8-uint64(s.VCPU)<<10 {
		t.Fatalf("stopped with %+v, not at the hook", s)
	}
	return s
}

// counters reads the counters of a processor.
func counters(t testing.TB, g *Guest, vcpu int) (ret, bod, sum uint64) {
	t.Helper()
	all := numbers(t, g, vcpu, returned+uint64(8*vcpu), bodies+uint64(8*vcpu), sums+uint64(8*vcpu))
	return all[0], all[1], all[2]
}

// numbers reads the one at each address.
func numbers(t testing.TB, g *Guest, vcpu int, addrs ...uint64) []uint64 {
	t.Helper()
	ranges, all := make([]*guest.Range, len(addrs)), make([]uint64, len(addrs))
	for i, a := range addrs {
		ranges[i] = &guest.Range{Addr: a, Buf: make([]byte, 8)}
	}
	if err := g.Read(vcpu, ranges); err != nil {
		t.Fatal(err)
	}
	for i, r := range ranges {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		all[i] = binary.LittleEndian.Uint64(r.Buf)
	}
	return all
}

// timeLimit is longer than anything that the firmware does.
const timeLimit = 5 * time.Minute

// runFreely lets a guest without traps run until a processor has called the function a few times.
func runFreely(t testing.TB, g *Guest, vcpu int) {
	t.Helper()
	first, _, _ := counters(t, g, vcpu)
	for end := time.Now().Add(timeLimit); ; {
		if s, err := g.Run(10 * time.Millisecond); err != nil || s.Hit {
			t.Fatalf("a trap is left: %+v, %v", s, err)
		}
		if ret, _, _ := counters(t, g, vcpu); ret > first+2 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the guest does not run")
		}
	}
}

// returnFrom answers as if the function had returned.
func returnFrom(t testing.TB, g *Guest, s guest.Stop, value uint64) {
	t.Helper()
	var b [8]byte
	r := []*guest.Range{{Addr: s.Regs.RSP, Buf: b[:]}}
	if err := g.Read(s.VCPU, r); err != nil || r[0].Err != nil {
		t.Fatal(err, r[0].Err)
	}
	answer(t, g, s, guest.Answer{Return: true, RAX: value, RSP: s.Regs.RSP + 8, RIP: binary.LittleEndian.Uint64(b[:])})
}

func runOn(t testing.TB, g *Guest, s guest.Stop) {
	t.Helper()
	answer(t, g, s, guest.Answer{RIP: s.Regs.RIP + nopSize})
}

// sendTo answers so that the processor goes on there, with something in rax, as though the function had never been called.
func sendTo(t testing.TB, g *Guest, s guest.Stop, addr, rax uint64) {
	t.Helper()
	answer(t, g, s, guest.Answer{Return: true, RAX: rax, RSP: s.Regs.RSP + 8, RIP: addr})
}

func answer(t testing.TB, g *Guest, s guest.Stop, a guest.Answer) {
	t.Helper()
	if err := g.Answer(&s, a); err != nil {
		t.Fatal(err)
	}
}
