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

// stub is at the other end of a socket pair and answers as QEMU does, except where a test sets
// other replies.
type stub struct {
	fd int

	mu      sync.Mutex
	rip     uint64
	replies map[string]string // bytes to send, by prefix of the packet; hangUp at the end closes the connection
	writes  []string          // input, by write
	running bool              // from vCont until the next empty packet
	done    chan struct{}
}

const hangUp = "\x00"

func frame(text string) string { return fmt.Sprintf("+$%s#%02x", text, sum([]byte(text))) }

// monitorSays returns the stub's reply with an answer of the monitor.
func monitorSays(text string) string { return frame(fmt.Sprintf("O%x", text)) + frame("OK")[1:] }

// endedProcess returns the pidfd of a process that has ended.
var endedProcess = sync.OnceValues(func() (int, error) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	return fd, errors.Join(err, cmd.Wait())
})

// newStub returns a stub, whose process appears to have ended when it hangs up, and a Guest before
// begin.
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
	g := &Guest{Trap: Hardware, c: conn{fd: pair[0], peer: peer, timeout: time.Minute}, selected: -1}
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

// set changes the replies.
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

// reversed returns a number in hex, low byte first.
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

// Answers of the monitor behind a stub.
const saysPaused, saysHit = "VM status: paused\r\n", "VM status: paused (debug)\r\n"

// TestInterrupt tests races between a hit, the time limit, and a pause by the host. Since 8.1 QEMU
// loses the empty packet that stops a guest; older versions also report that stop.
func TestInterrupt(t *testing.T) {
	notice := func(text string) string { return frame(text)[1:] }
	tests := []struct {
		name           string
		vCont, probe   string // replies to vCont and to the empty packet
		state, more    string // answer of the monitor, and what follows it
		rip            uint64
		hit            bool
		err            string
		atLast, paused bool // the error comes with the second stop; the guest stays paused
	}{
		{name: "time is over", probe: "", state: saysPaused, rip: again},
		{name: "time is over, QEMU 7.2", probe: notice("T02thread:p01.01;"), state: saysPaused, rip: again},
		{name: "a hit comes first", vCont: notice("T05thread:p01.01;"), rip: hook, hit: true},
		{name: "a hit is reported too late", probe: notice("T05thread:p01.01;") + frame(""), state: saysHit, rip: hook, hit: true},
		{name: "a hit is not reported", probe: frame(""), state: saysHit, rip: hook, hit: true},
		{name: "the end of the time hides a hit", probe: notice("T02thread:p01.01;"), state: saysPaused, rip: hook},
		{name: "half a hit comes first", vCont: "$T05thre", probe: "ad:p01.01;#06" + frame(""), state: saysHit, rip: hook, hit: true},
		{name: "somebody else's trap", vCont: notice("T05thread:p01.01;"), rip: again, err: "stopped at 0xf0139", atLast: true},
		{name: "a pause and a hit", vCont: notice("T02thread:p01.01;") + notice("T05thread:p01.01;"), rip: hook, hit: true},
		{name: "a pause", probe: frame(""), state: saysPaused, rip: hook, paused: true},
		{name: "a pause is reported too late", probe: notice("T02thread:p01.01;") + frame(""), state: saysPaused, rip: hook, paused: true},
		{name: "a shutdown", probe: notice("T03thread:p01.01;") + frame(""), state: "VM status: paused (shutdown)\r\n", err: "shut down"},
		{name: "no stop", probe: "+", err: "no answer in time"},
		{name: "another state", probe: frame(""), state: "VM status: running\r\n", err: `"qRcmd,696e666f20737461747573": it answered`},
		{name: "more after the stop", probe: frame(""), state: saysHit, more: notice("E01"), rip: again, err: `it answered "E01"`},
		{name: "its end", probe: hangUp, err: "closed the connection"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, g := newStub(t, nil)
			if err := errors.Join(g.begin(), g.Plant([]uint64{hook})); err != nil {
				t.Fatal(err)
			}
			replies := map[string]string{"vCont": "+" + test.vCont, "": test.probe, "qRcmd": monitorSays(test.state) + test.more}
			if test.err == "no answer in time" {
				replies["qRcmd"], g.c.timeout = "", 10*time.Millisecond
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
					t.Fatalf("a pause by the host is mistaken for a hit: %+v, %v", stop, err)
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

// TestSync: remains of earlier connections do no harm, and Freeze works after all kinds of errors.
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
		t.Error("a guest that was frozen after an error runs")
	}
	s.set(map[string]string{"qC": hangUp}, hook)
	if err := g.Freeze(); !errors.Is(err, guest.ErrEnded) {
		t.Error(err)
	}
}

// TestUnknownEnd: if the process is not known, a closed connection does not mean that the guest has
// ended.
func TestUnknownEnd(t *testing.T) {
	s, g := newStub(t, nil)
	unix.Close(g.c.peer)
	g.c.peer = 0
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	plant(t, g, hook)
	s.set(map[string]string{"vCont": hangUp}, hook)
	if _, err := g.Run(0); !errors.Is(err, errUnknownEnd) || errors.Is(err, guest.ErrEnded) || !strings.Contains(err.Error(), "not known whether the guest has ended") {
		t.Errorf("got %v", err)
	}
	if err := g.Freeze(); !errors.Is(err, errUnknownEnd) || errors.Is(err, guest.ErrEnded) {
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

// TestLate: a peer that keeps sending does not extend the deadline.
func TestLate(t *testing.T) {
	s, g := newStub(t, nil)
	if _, err := unix.Write(s.fd, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := g.c.fill(time.Now().Add(-time.Second)); err != errSilent {
		t.Errorf("got %v", err)
	}
	if err := g.c.fill(g.c.deadline()); err != nil || g.c.w != 1 {
		t.Errorf("%d bytes, %v", g.c.w, err)
	}
	_, err := unix.Write(s.fd, []byte(strings.Repeat("+", len(g.c.buf)+1)))
	if err != nil {
		t.Fatal(err)
	}
	g.c.r, g.c.w = 0, 0
	if p, err := g.c.receive(g.c.deadline()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %q, %v", p, err)
	}
}

func TestAnswerRefuses(t *testing.T) {
	_, g := newStub(t, nil)
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	if err := g.Answer(&guest.Stop{Hit: true}, guest.Answer{}); err == nil {
		t.Error("an answer before a hit is accepted")
	}
	plant(t, g, hook)
	s, err := g.Run(0)
	if err != nil || !s.Hit {
		t.Fatal(s, err)
	}
	other := s
	other.VCPU = 1
	if err := g.Answer(&other, guest.Answer{}); err == nil {
		t.Error("an answer to the hit of another vCPU is accepted")
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Dial("/nowhere/at/all"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Error(err)
	}
	if _, err := Dial("/" + strings.Repeat("long", 100)); err == nil {
		t.Error("a path that is too long is accepted")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := OpenFD(int(f.Fd())); err == nil {
		t.Error("a file that is not a socket is accepted")
	}
}
