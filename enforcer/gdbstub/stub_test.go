package gdbstub

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// stub answers as QEMU does, at the other end of a socket pair, and otherwise where
// a test wants it.
type stub struct {
	fd int

	mu      sync.Mutex
	rip     uint64
	replies map[string]string // by what a packet begins with: the bytes to be sent; ends with hangUp to hang up
	writes  []string          // what came at once
	running bool              // since vCont, until the next empty packet, for which replies has what is sent
	done    chan struct{}
}

const hangUp = "\x00"

func frame(text string) string { return fmt.Sprintf("+$%s#%02x", text, sum([]byte(text))) }

// monitorSays is what the monitor answers to a command, behind the stub.
func monitorSays(text string) string { return frame(fmt.Sprintf("O%x", text)) + frame("OK")[1:] }

// endedProcess is a pidfd of a process that has ended.
var endedProcess = sync.OnceValues(func() (int, error) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	return fd, errors.Join(err, cmd.Wait())
})

// newStub gives a stub, the process of which has ended when it hangs up, and a Guest that has not begun.
func newStub(t testing.TB, replies map[string]string) (*stub, *Guest) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := endedProcess()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := unix.Dup(ended)
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{fd: pair[1], rip: hook, replies: replies, done: make(chan struct{})}
	g := &Guest{Trap: Hardware, c: conn{fd: pair[0], peer: peer, patience: time.Minute}, selected: -1}
	go s.serve()
	t.Cleanup(func() { g.Close(); <-s.done; unix.Close(s.fd) })
	return s, g
}

func (s *stub) serve() {
	defer close(s.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(s.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return
		}
		s.writes = append(s.writes, string(buf[:n]))
		for rest := string(buf[:n]); rest != ""; {
			packet := rest[:1]
			if packet == "$" {
				packet, _, _ = strings.Cut(rest[1:], "#")
				rest = rest[len(packet)+3:]
			}
			rest = rest[1:]
			reply := s.reply(packet)
			unix.Write(s.fd, []byte(strings.TrimSuffix(reply, hangUp)))
			if strings.HasSuffix(reply, hangUp) {
				unix.Shutdown(s.fd, unix.SHUT_RDWR)
				return
			}
		}
	}
}

// set changes what is answered.
func (s *stub) set(replies map[string]string, rip uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies, s.rip = replies, rip
}

func (s *stub) reply(packet string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := s.running
	s.running = strings.HasPrefix(packet, "vCont") || running && packet != ""
	if packet == "" && !running {
		return frame("")
	}
	for begin, reply := range s.replies {
		if begin == packet || begin != "" && strings.HasPrefix(packet, begin) {
			return reply
		}
	}
	begins := func(p string) bool { return strings.HasPrefix(packet, p) }
	var addr, n int
	switch {
	case packet == "\x03":
		return ""
	case begins("qC"):
		return frame("QCp01.01")
	case begins("qSupported"):
		return frame("PacketSize=1000;qXfer:features:read+;vContSupported+;multiprocess+")
	case begins("qXfer"):
		fmt.Sscanf(packet, "qXfer:features:read:i386-64bit.xml:%x,%x", &addr, &n)
		if xml := registersXML(); addr+n < len(xml) {
			return frame("m" + xml[addr:addr+n])
		} else {
			return frame("l" + xml[addr:])
		}
	case begins("qRcmd"):
		return monitorSays("VM status: paused (debug)\r\n")
	case begins("qf"):
		return frame("mp01.01")
	case begins("qs"):
		return frame("l")
	case begins("Qqemu.PhyMemMode:"), begins("H"), begins("P"), begins("Z"), begins("z"), begins("D"):
		return frame("OK")
	case packet == "g":
		return frame(fmt.Sprintf("%0256x%s%056x", 0, reversed(s.rip), 0))
	case begins("m"):
		fmt.Sscanf(packet, "m%x,%x", &addr, &n)
		return frame(strings.Repeat("5a", n))
	case begins("vCont"):
		return "+" + frame("T05thread:p01.01;")[1:]
	}
	return frame("")
}

// reversed is a number in hex, low byte first.
func reversed(n uint64) (hex string) {
	for range 8 {
		hex += fmt.Sprintf("%02x", byte(n))
		n >>= 8
	}
	return hex
}

func registersXML() string {
	xml := "<?xml version=\"1.0\"?><feature name=\"org.gnu.gdb.i386.core\"><!-- }\x0a -->"
	for i, name := range registerNames {
		xml += fmt.Sprintf("<reg name=%q bitsize=\"%d\"/>\n", name, map[bool]int{true: 64, false: 32}[i <= numRIP])
	}
	return xml + strings.Repeat("<reg name=\"st0\"/>\n", 300) + "</feature>"
}

// session does everything once.
func session(g *Guest) error {
	if err := g.begin(); err != nil {
		return err
	}
	if _, err := g.VCPUs(); err != nil {
		return err
	}
	if err := g.Plant([]uint64{hook, again}); err != nil {
		return err
	}
	s, err := g.Run(0)
	if err != nil {
		return err
	}
	r := []*guest.Range{{Addr: 0x1000, Buf: make([]byte, 5000)}, {Addr: 0x9000, Buf: make([]byte, 3)}}
	if err := g.Read(s.VCPU, r); err != nil {
		return err
	}
	if err := errors.Join(r[0].Err, r[1].Err); err != nil {
		return err
	}
	if err := g.Answer(&s, guest.Answer{Return: true, RIP: again}); err != nil {
		return err
	}
	if _, err := g.Run(0); err != nil {
		return err
	}
	if err := g.Plant([]uint64{hook}); err != nil {
		return err
	}
	return g.Release()
}

// Of the monitor behind a stub.
const saysPaused, saysHit = "VM status: paused\r\n", "VM status: paused (debug)\r\n"

// TestInterrupt: who wins between a hit, the end of the time, and who has paused the guest. QEMU from 8.1 on loses the empty
// packet that stops a guest, older ones tell of that stop, too.
func TestInterrupt(t *testing.T) {
	told := func(text string) string { return frame(text)[1:] }
	tests := []struct {
		name           string
		vCont, look    string // what comes after vCont, and for the empty packet
		state, more    string // what the monitor says, and what comes behind
		rip            uint64
		hit            bool
		err            string
		atLast, paused bool // the error comes with the second stop; it is a pause, and lasts
	}{
		{name: "time is over", look: "", state: saysPaused, rip: again},
		{name: "time is over, QEMU 7.2", look: told("T02thread:p01.01;"), state: saysPaused, rip: again},
		{name: "a hit comes first", vCont: told("T05thread:p01.01;"), rip: hook, hit: true},
		{name: "a hit is told of too late", look: told("T05thread:p01.01;") + frame(""), state: saysHit, rip: hook, hit: true},
		{name: "a hit that nobody tells of", look: frame(""), state: saysHit, rip: hook, hit: true},
		{name: "a hit that the end of the time hides", look: told("T02thread:p01.01;"), state: saysPaused, rip: hook},
		{name: "half a hit comes first", vCont: "$T05thre", look: "ad:p01.01;#06" + frame(""), state: saysHit, rip: hook, hit: true},
		{name: "a trap of another", vCont: told("T05thread:p01.01;"), rip: again, err: "stopped at 0xf0139", atLast: true},
		{name: "a pause and a hit", vCont: told("T02thread:p01.01;") + told("T05thread:p01.01;"), rip: hook, hit: true},
		{name: "a pause", look: frame(""), state: saysPaused, rip: hook, paused: true},
		{name: "a pause, told of too late", look: told("T02thread:p01.01;") + frame(""), state: saysPaused, rip: hook, paused: true},
		{name: "a shutdown", look: told("T03thread:p01.01;") + frame(""), state: "VM status: paused (shutdown)\r\n", err: "shut down"},
		{name: "no stop", look: "+", err: "no answer in time"},
		{name: "another state", look: frame(""), state: "VM status: running\r\n", err: `"qRcmd,696e666f20737461747573": it answered`},
		{name: "more after the stop", look: frame(""), state: saysHit, more: told("E01"), rip: again, err: `it answered "E01"`},
		{name: "its end", look: hangUp, err: "closed the connection"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, g := newStub(t, nil)
			if err := errors.Join(g.begin(), g.Plant([]uint64{hook})); err != nil {
				t.Fatal(err)
			}
			replies := map[string]string{"vCont": "+" + test.vCont, "": test.look, "qRcmd": monitorSays(test.state) + test.more}
			if test.err == "no answer in time" {
				replies["qRcmd"], g.c.patience = "", 10*time.Millisecond
			}
			s.set(replies, test.rip)
			var early atomic.Bool
			for n := range 3 {
				if test.paused {
					early.Store(true)
					time.AfterFunc(2*pollInterval, func() {
						early.Store(false)
						s.set(map[string]string{"qRcmd": monitorSays(saysHit)}, test.rip)
					})
					test.hit, test.paused = true, false
				}
				stop, err := g.Run(time.Microsecond)
				if early.Load() {
					t.Fatalf("a guest that its host has paused is taken for one that has hit: %+v, %v", stop, err)
				}
				if test.err != "" && (n > 0 || !test.atLast) {
					if err == nil || !strings.Contains(err.Error(), test.err) {
						t.Fatalf("got %+v, %v", stop, err)
					}
					return
				}
				if err != nil || stop.Hit != test.hit || stop.Regs.RIP != test.rip {
					t.Fatalf("got %+v, %v", stop, err)
				}
			}
		})
	}
}

// TestSync: what is left of others does not confuse, and Freeze works when all else
// has failed.
func TestSync(t *testing.T) {
	s, g := newStub(t, nil)
	left := frame("T02thread:p01.01;")[1:] + "-+$E14#" + frame("OK") + strings.Repeat("x", 40000) + "$Q"
	if _, err := unix.Write(s.fd, []byte(left)); err != nil {
		t.Fatal(err)
	}
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	s.set(map[string]string{"m": "+$5a5a#00 and more" + strings.Repeat(frame("T05"), 1000)}, hook)
	if err := g.Read(0, []*guest.Range{{Buf: make([]byte, 2)}}); err == nil {
		t.Fatal("a wrong checksum is accepted")
	}
	if err := g.Freeze(); err != nil {
		t.Error(err)
	}
	if _, err := g.Run(0); err == nil {
		t.Error("a guest runs that was frozen after an error")
	}
	s.set(map[string]string{"qC": hangUp}, hook)
	if err := g.Freeze(); !errors.Is(err, guest.ErrEnded) {
		t.Error(err)
	}
}

// TestUnseen: of a process that is not known a closed connection says nothing.
func TestUnseen(t *testing.T) {
	s, g := newStub(t, nil)
	unix.Close(g.c.peer)
	g.c.peer = 0
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	plant(t, g, hook)
	s.set(map[string]string{"vCont": hangUp}, hook)
	if _, err := g.Run(0); !errors.Is(err, errUnseen) || errors.Is(err, guest.ErrEnded) || !strings.Contains(err.Error(), "not known whether the guest has ended") {
		t.Errorf("got %v", err)
	}
	if err := g.Freeze(); !errors.Is(err, errUnseen) || errors.Is(err, guest.ErrEnded) {
		t.Errorf("freezing: %v", err)
	}
	s, g = newStub(t, nil)
	unix.Close(g.c.peer)
	g.c.peer = 0
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	s.set(map[string]string{"vCont": frame("W00")}, hook)
	if _, err := g.Run(0); !errors.Is(err, guest.ErrEnded) {
		t.Errorf("QEMU says that it exits: %v", err)
	}
}

// TestLate: who sends all the time gains none.
func TestLate(t *testing.T) {
	s, g := newStub(t, nil)
	if _, err := unix.Write(s.fd, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := g.c.fill(time.Now().Add(-time.Second)); err != errSilent {
		t.Errorf("got %v", err)
	}
	if err := g.c.fill(g.c.soon()); err != nil || g.c.w != 1 {
		t.Errorf("%d bytes, %v", g.c.w, err)
	}
	_, err := unix.Write(s.fd, []byte(strings.Repeat("+", len(g.c.buf)+1)))
	if err != nil {
		t.Fatal(err)
	}
	g.c.r, g.c.w = 0, 0
	if p, err := g.c.receive(g.c.soon()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %q, %v", p, err)
	}
}

func TestAnswerRefuses(t *testing.T) {
	_, g := newStub(t, nil)
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	if err := g.Answer(&guest.Stop{Hit: true}, guest.Answer{}); err == nil {
		t.Error("an answer before a hit")
	}
	plant(t, g, hook)
	s, err := g.Run(0)
	if err != nil || !s.Hit {
		t.Fatal(s, err)
	}
	other := s
	other.VCPU = 1
	if err := g.Answer(&other, guest.Answer{}); err == nil {
		t.Error("an answer to the hit of another virtual CPU")
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Dial("/nowhere/at/all"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Error(err)
	}
	if _, err := Dial("/" + strings.Repeat("long", 100)); err == nil {
		t.Error("a path that is too long")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := OpenFD(int(f.Fd())); err == nil {
		t.Error("a file is no socket")
	}
}
