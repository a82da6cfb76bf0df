package gdbstub

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
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
	done    chan struct{}
}

const hangUp = "\x00"

func frame(text string) string { return fmt.Sprintf("+$%s#%02x", text, sum([]byte(text))) }

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
	for begin, reply := range s.replies {
		if strings.HasPrefix(packet, begin) {
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

// TestInterrupt: who wins between a hit and the end of the time.
func TestInterrupt(t *testing.T) {
	tests := []struct {
		name, vCont, interrupt string
		rip                    uint64
		hit                    bool
		err                    string
	}{
		{"time is over", "+", frame("T02thread:p01.01;")[1:], again, false, ""},
		{"a hit comes first", "+", frame("T05thread:p01.01;")[1:], hook, true, ""},
		{"a hit that the interrupt hides", "+", frame("T02thread:p01.01;")[1:], hook, true, ""},
		{"half a hit comes first", "+$T05thre", "ad:p01.01;#06", hook, true, ""},
		{"a trap of another", "+", frame("T05thread:p01.01;")[1:], again, false, "stopped at 0xf00f2"},
		{"a pause by the monitor, and a hit", frame("T02thread:p01.01;") + frame("T05thread:p01.01;")[1:], "", hook, true, ""},
		{"no stop", "+", "+", again, false, "no answer in time"},
		{"more after the stop", "+", frame("T02thread:p01.01;")[1:] + frame("T05thread:p01.01;")[1:], again, false, `"g": it answered "T05`},
		{"its end", "+", hangUp, again, false, "closed the connection"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, g := newStub(t, nil)
			if err := g.begin(); err != nil {
				t.Fatal(err)
			}
			if err := g.Plant([]uint64{hook}); err != nil {
				t.Fatal(err)
			}
			s.set(map[string]string{"vCont": test.vCont, "\x03": test.interrupt}, test.rip)
			if test.err == "no answer in time" {
				g.c.patience = 10 * time.Millisecond
			}
			limit := time.Microsecond
			if test.interrupt == "" {
				limit = time.Hour
			}
			for range 3 {
				stop, err := g.Run(limit)
				if test.err != "" {
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
	if err := g.c.fill(time.Time{}); err != nil || g.c.w != 1 {
		t.Errorf("%d bytes, %v", g.c.w, err)
	}
	_, err := unix.Write(s.fd, []byte(strings.Repeat("+", len(g.c.buf)+1)))
	if err != nil {
		t.Fatal(err)
	}
	g.c.r, g.c.w = 0, 0
	if p, err := g.c.receive(time.Time{}); err == nil || !strings.Contains(err.Error(), "more than") {
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
