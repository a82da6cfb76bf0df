package gdbstub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

var traps = map[string]Trap{"hardware": Hardware, "software": Software}

// TestHits follows one processor from its reset, and answers hits in both ways.
func TestHits(t *testing.T) {
	for name, trap := range traps {
		t.Run(name, func(t *testing.T) {
			needTrap(t, trap)
			g := boot(t, 1).dial(t)
			g.Trap = trap
			if fresh, err := g.Fresh(); err != nil || !fresh {
				t.Fatalf("fresh: %v, %v", fresh, err)
			}
			plant(t, g, hook)
			var sum, bodyRuns uint64
			for n := range uint64(100) {
				s := runToHit(t, g)
				if n == 0 {
					checkRegisters(t, g, s)
				}
				ret, bod, total := counters(t, g, 0)
				if ret != n || bod != bodyRuns || total != sum {
					t.Fatalf("at hit %d the function has returned %d times, its body has run %d times, and the sum is %d; want %d, %d and %d",
						n, ret, bod, total, n, bodyRuns, sum)
				}
				if n%3 == 0 {
					runOn(t, g, s)
					sum, bodyRuns = sum+body, bodyRuns+1
				} else {
					value := n<<56 | n<<32
					returnFrom(t, g, s, value)
					sum += value
				}
			}
			runToHit(t, g)
			if fresh, err := g.Fresh(); err != nil || fresh {
				t.Errorf("fresh: %v, %v", fresh, err)
			}
		})
	}
}

// checkRegisters compares the registers with the values that boot.S sets.
func checkRegisters(t *testing.T, g *Guest, s guest.Stop) {
	t.Helper()
	if r := s.Regs; r.R8 != 0x0123456789abcde8 || r.RDX != 0xfee00000 || r.CS != 8 {
		t.Errorf("registers are %+v", r)
	}
	all, err := g.VCPUs()
	if err != nil || len(all) != len(g.threads) || all[s.VCPU] != s.Regs {
		t.Errorf("all registers are %+v (%v)", all, err)
	}
	if s.At.After(time.Now()) || time.Since(s.At) > time.Hour {
		t.Errorf("stopped at %v", s.At)
	}
}

// TestOpenFD uses a socket pair, which is a connected character device for QEMU.
func TestOpenFD(t *testing.T) {
	needTool(t, qemu())
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "socket pair")
	var m machine
	m.start(t, []*os.File{theirs}, "-bios", firmware(t), "-chardev", "socket,id=gdb0,fd=3", "-gdb", "chardev:gdb0")
	theirs.Close()
	spare, err := unix.Dup(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	g, err := OpenFD(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	if id := g.Identity(); id != "" {
		t.Errorf("identity is %q", id)
	}
	plant(t, g, hook)
	for n := range uint64(10) {
		s := runToHit(t, g)
		if ret, _, _ := counters(t, g, 0); ret != n {
			t.Fatalf("hit %d after %d returns", n, ret)
		}
		runOn(t, g, s)
	}

	// The process dies while the guest runs, and another process has the descriptor, too.
	runToHit(t, g)
	plant(t, g)
	g.c.ask("vCont;c")
	if err := g.c.write(g.c.out); err != nil {
		t.Fatal(err)
	}
	g.Close()
	if g, err = OpenFD(spare); err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if status := m.qmp(t, "query-status"); status["running"] != false {
		t.Errorf("the guest is %v", status)
	}
	plant(t, g, hook)
	runToHit(t, g)

	m.kill()
	if _, err := g.Run(0); !errors.Is(err, errUnknownEnd) || errors.Is(err, guest.ErrEnded) {
		t.Errorf("QEMU was killed, but its process is not known: %v", err)
	}
}

// TestEveryHit: two processors call the function all the time. Each call is a hit that is answered.
func TestEveryHit(t *testing.T) {
	for name, trap := range traps {
		t.Run(name, func(t *testing.T) {
			needTrap(t, trap)
			g := boot(t, 2).dial(t)
			g.Trap = trap
			plant(t, g, hook)
			var answered, sum [2]uint64
			both := 0
			for range 1000 {
				s := runToHit(t, g)
				i := s.VCPU
				ret, _, total := counters(t, g, i)
				if ret != answered[i] || total != sum[i] {
					t.Fatalf("%d hits of processor %d were answered with the sum %d, but there were %d calls with the sum %d", answered[i], i, sum[i], ret, total)
				}
				all, err := g.VCPUs()
				if err != nil {
					t.Fatal(err)
				}
				if all[0].RIP == hook && all[1].RIP == hook {
					both++
				}
				value := pastime(20_000) | uint64(i+1)<<40
				returnFrom(t, g, s, value)
				answered[i]++
				sum[i] += value
			}
			if answered[0] == 0 || answered[1] == 0 || both == 0 {
				t.Errorf("answered %d, %d times both were at the hook", answered, both)
			}
			t.Logf("answered %d, %d times both were at the hook", answered, both)
		})
	}
}

// TestLimits mixes hits with expiring time limits.
func TestLimits(t *testing.T) {
	g := boot(t, 2).dial(t)
	plant(t, g, hook)
	var answered [2]uint64
	over := 0
	for range 3000 {
		s, err := g.Run(time.Duration(1 + rand.N(1000_000)))
		if err != nil {
			t.Fatal(err)
		}
		if !s.Hit {
			over++
			continue
		}
		if ret, _, _ := counters(t, g, s.VCPU); ret != answered[s.VCPU] {
			t.Fatalf("%d hits of processor %d were answered, but it made %d calls", answered[s.VCPU], s.VCPU, ret)
		}
		returnFrom(t, g, s, pastime(200_000))
		answered[s.VCPU]++
	}
	if answered[0] == 0 || answered[1] == 0 || over == 0 {
		t.Errorf("answered %d; the time was over %d times", answered, over)
	}
	t.Logf("answered %d; the time was over %d times", answered, over)
}

// TestUnanswered: a hit happens again until it is answered.
func TestUnanswered(t *testing.T) {
	g := boot(t, 1).dial(t)
	plant(t, g, hook)
	for range 10 {
		runToHit(t, g)
	}
	if ret, bod, _ := counters(t, g, 0); ret != 0 || bod != 0 {
		t.Errorf("it returned %d times, and its body ran %d times", ret, bod)
	}
}

// TestReconnect: the end of a connection changes nothing. The next one gets the hit, and copes with
// traps that it does not know.
func TestReconnect(t *testing.T) {
	for name, trap := range traps {
		t.Run(name, func(t *testing.T) {
			needTrap(t, trap)
			m := boot(t, 2)
			var answered [2]uint64
			for n := range 20 {
				g := m.dial(t)
				g.Trap = trap
				if fresh, err := g.Fresh(); err != nil || fresh != (n == 0) {
					t.Fatalf("fresh: %v, %v", fresh, err)
				}
				plant(t, g, hook)
				for range 1 + n%2 {
					s := runToHit(t, g)
					if ret, _, _ := counters(t, g, s.VCPU); ret != answered[s.VCPU] {
						t.Fatalf("%d hits of processor %d were answered, but it made %d calls", answered[s.VCPU], s.VCPU, ret)
					}
					if n%3 == 0 {
						break // without an answer
					}
					runOn(t, g, s)
					answered[s.VCPU]++
					runToHit(t, g)
				}
				g.Close()
				if status := m.qmp(t, "query-status"); status["running"] != false {
					t.Fatalf("the guest is %v", status)
				}
			}
			g := m.dial(t)
			g.Trap = trap
			plant(t, g, hook)
			plant(t, g)
			runFreely(t, g, 0)
		})
	}
}

// TestDeathInside: a process dies while the guest runs. The next hit stops the guest although
// nobody is connected, and a new connection stops it in any case.
func TestDeathInside(t *testing.T) {
	m := boot(t, 1)
	g := m.dial(t)
	plant(t, g, hook)
	g.c.ask("vCont;c")
	if err := g.c.write(g.c.out); err != nil {
		t.Fatal(err)
	}
	g.Close()
	m.await(t, "STOP")
	g = m.dial(t)
	plant(t, g, hook)
	s := runToHit(t, g)
	if ret, _, _ := counters(t, g, 0); ret != 0 {
		t.Errorf("%d calls passed without a trap", ret)
	}
	plant(t, g)
	runOn(t, g, s)
	g.Close()
	m.qmp(t, "query-status")
	g = m.dial(t)
	if status := m.qmp(t, "query-status"); status["running"] != false {
		t.Fatalf("the guest is %v", status)
	}
	if s, err := g.Run(time.Millisecond); err != nil || s.Hit {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestFresh: a machine is fresh only before its first instruction, with any firmware.
func TestFresh(t *testing.T) {
	kernel := filepath.Join(t.TempDir(), "kernel")
	header := make([]byte, 8192) // a multiboot kernel: an endless loop at 1 MiB
	for i, v := range []uint32{0x1badb002, 1 << 16, 1<<32 - (0x1badb002 + 1<<16), 1 << 20, 1 << 20, 0, 0, 1<<20 + 32} {
		binary.LittleEndian.PutUint32(header[4*i:], v)
	}
	copy(header[32:], "\xeb\xfe")
	if err := os.WriteFile(kernel, header, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"firmware": nil, "kernel": {"-bios", "bios-256k.bin", "-kernel", kernel}, "hotplug": {"-smp", "1,maxcpus=3"},
	} {
		t.Run(name, func(t *testing.T) {
			g := boot(t, 3, args...).dial(t)
			if fresh, err := g.Fresh(); err != nil || !fresh {
				t.Errorf("fresh: %v, %v", fresh, err)
			}
			if _, err := g.Run(time.Nanosecond); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(timeLimit); time.Now().Before(end); {
				fresh, err := g.Fresh()
				if err != nil {
					t.Fatal(err)
				}
				if !fresh {
					return
				}
				if _, err := g.Run(time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
			t.Error("the guest stays fresh")
		})
	}
}

// TestIdentity: the identity is the same only for connections to the same QEMU.
func TestIdentity(t *testing.T) {
	m, other := boot(t, 1), boot(t, 1)
	first := m.dial(t)
	first.Close()
	id := m.dial(t).Identity()
	if id != first.Identity() || !strings.HasPrefix(id, fmt.Sprintf("pid %d start ", m.cmd.Process.Pid)) {
		t.Errorf("identity is %q, was %q", id, first.Identity())
	}
	if o := other.dial(t).Identity(); o == id {
		t.Errorf("another QEMU has the identity %q, too", o)
	}
}

// TestImports: the package imports nothing that opens network sockets, runs programs or loads code,
// and only one outside module.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"", "golang.org/x/sys", "github.com/vmseal/vmseal"}
	forbidden := []string{"net", "net/http", "os/exec", "crypto/x509", "plugin", "runtime/cgo"}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		path, module, _ := strings.Cut(line, " ")
		if slices.Contains(forbidden, path) || !slices.Contains(allowed, module) {
			t.Errorf("imports %s of %q", path, module)
		}
	}
}

// TestAssemble: the firmware matches its source.
func TestAssemble(t *testing.T) {
	needTool(t, "as")
	needTool(t, "ld")
	dir := t.TempDir()
	for _, args := range [][]string{
		{"as", "testdata/boot.S", "-o", dir + "/boot.o"},
		{"ld", "-Ttext", "0", "-e", "0", "--oformat", "binary", dir + "/boot.o", "-o", dir + "/boot.bin"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	made, err := os.ReadFile(dir + "/boot.bin")
	if err != nil {
		t.Fatal(err)
	}
	used, err := os.ReadFile(firmware(t))
	if err != nil || !bytes.HasPrefix(used, made) {
		t.Errorf("testdata/boot.hex does not match testdata/boot.S (%v)", err)
	}
}

// BenchmarkHit measures one hit with two reads of memory. The guest does almost nothing between two
// hits.
func BenchmarkHit(b *testing.B) {
	g := boot(b, 1).dial(b)
	plant(b, g, hook)
	var stack, path [64]byte
	ranges := []*guest.Range{{Buf: stack[:8]}, {Addr: 0xf0000, Buf: path[:]}, {Addr: 0x6000, Buf: stack[8:]}}
	b.ReportAllocs()
	for b.Loop() {
		s := runToHit(b, g)
		for range 2 {
			ranges[0].Addr = s.Regs.RSP
			if err := g.Read(s.VCPU, ranges); err != nil {
				b.Fatal(err)
			}
		}
		answer(b, g, s, guest.Answer{Return: true, RSP: s.Regs.RSP + 8, RIP: binary.LittleEndian.Uint64(stack[:])})
	}
}

// TestBothPending: a process dies with an unanswered hit of each vCPU. The next process gets both.
func TestBothPending(t *testing.T) {
	m := boot(t, 2)
	g := m.dial(t)
	plant(t, g, hook)
	for range 100_000 {
		runToHit(t, g) // the other vCPU runs meanwhile
		all, err := g.VCPUs()
		if err != nil {
			t.Fatal(err)
		}
		if all[0].RIP == hook && all[1].RIP == hook {
			break
		}
	}
	g.Close()
	g = m.dial(t)
	if all, err := g.VCPUs(); err != nil || all[0].RIP != hook || all[1].RIP != hook {
		t.Fatalf("not both are at the trap: %+v, %v", all, err)
	}
	if found, err := g.Adopt([]uint64{hook, again}); err != nil || !slices.Equal(found, []uint64{hook}) {
		t.Errorf("adopted %#x, %v", found, err)
	}
	plant(t, g, hook)
	answered := map[int]bool{}
	for len(answered) < 2 {
		s := runToHit(t, g)
		if ret, _, _ := counters(t, g, s.VCPU); (ret > 0) != answered[s.VCPU] {
			t.Fatalf("processor %d returned %d times, answered: %v", s.VCPU, ret, answered[s.VCPU])
		}
		returnFrom(t, g, s, 1)
		answered[s.VCPU] = true
	}
}

// BenchmarkExchange measures the minimum cost of an exchange: a question that needs no work. The mean says little on a busy
// machine, so the median is reported, too.
func BenchmarkExchange(b *testing.B) {
	g := boot(b, 1).dial(b)
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		g.c.ask("qC")
		if g.c.reply(); g.c.err != nil {
			b.Fatal(g.c.err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2]), "median-ns")
}
