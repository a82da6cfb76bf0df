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

func TestSession(t *testing.T) {
	s, g := newStub(t, nil)
	if err := session(g); err != nil {
		t.Fatal(err)
	}
	if err := g.Plant(nil); err != errReleased {
		t.Errorf("a guest that was released: %v", err)
	}
	g.Close()
	<-s.done
	all := strings.Join(s.writes, "")
	for _, bad := range []string{"+", "?", "$k", "$M", "$X"} {
		if strings.Contains(strings.ReplaceAll(all, "multiprocess+", ""), bad) {
			t.Errorf("%q was sent", bad)
		}
	}
	if strings.Count(all, "$D;1#") != 1 || !strings.HasSuffix(all, "$D;1#"+fmt.Sprintf("%02x", sum([]byte("D;1")))) {
		t.Errorf("D was sent before the end")
	}
}

// TestExchanges: what goes to and fro for a hit, and in what order.
func TestExchanges(t *testing.T) {
	s, g := newStub(t, nil)
	if err := session(g); err != nil {
		t.Fatal(err)
	}
	g.Close()
	<-s.done
	strip := func(w string) (names string) {
		for _, p := range strings.Split(w, "$")[1:] {
			names += p[:strings.IndexAny(p, "#,;=")] + " "
		}
		return names
	}
	var got []string
	for _, w := range s.writes[len(s.writes)-10:] {
		got = append(got, strip(w))
	}
	want := []string{"Hgp01.01 g ", "z1 Z1 z1 Z1 ", "vCont ", "g qfThreadInfo qsThreadInfo ", "m1000 m1800 m2000 m9000 ", "P0 P7 P10 ", "vCont ", "g qfThreadInfo qsThreadInfo ", "z1 ", "D "}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("sent %q, not %q", got, want)
	}
}

// TestRefusedAnswer: a guest does not go on with registers that QEMU has refused to set, whichever
// it was, and Freeze finds it standing still.
func TestRefusedAnswer(t *testing.T) {
	for _, register := range []string{"P0", "P7", "P10"} {
		s, g := newStub(t, nil)
		if err := g.begin(); err != nil {
			t.Fatal(err)
		}
		plant(t, g, hook)
		stop, err := g.Run(0)
		if err != nil {
			t.Fatal(err)
		}
		s.set(map[string]string{register + "=": frame("E22")}, hook)
		if err := g.Answer(&stop, guest.Answer{Return: true, RIP: again}); err == nil || !strings.Contains(err.Error(), register+"=") {
			t.Errorf("%s is refused: %v", register, err)
		}
		if err := g.Freeze(); err != nil {
			t.Errorf("freezing: %v", err)
		}
		g.Close()
		<-s.done
		if n := strings.Count(strings.Join(s.writes, ""), "$vCont"); n != 1 {
			t.Errorf("%s is refused, and the guest was resumed %d times", register, n)
		}
	}
}

// TestBadReplies: whatever the stub says at whatever point, there is an error that
// tells what was asked, and nothing is asked thereafter.
func TestBadReplies(t *testing.T) {
	points := []string{"qSupported", "qXfer", "qfThreadInfo", "qsThreadInfo", "Hg", "g", "z1", "Z1", "vCont", "m1800", "m9000", "P0", "P10", "D"}
	bad := map[string]string{
		"nothing":          frame(""),
		"an error":         frame("E01"),
		"another error":    frame("E.why"),
		"other text":       frame("OKOK"),
		"a thread":         frame("mp02.01"),
		"too much":         frame("m" + strings.Repeat("<reg ", 3000)),
		"an odd digit":     frame("5a5a5"),
		"no digits":        frame(strings.Repeat("zz", 2048)),
		"a stop":           frame("T05thread:p01.07;"),
		"no thread":        frame("T05"),
		"a signal":         frame("T0bthread:p01.01;"),
		"an interrupt":     frame("T02thread:p01.01;"),
		"a wrong checksum": "+$OK#9b",
		"an odd checksum":  "+$OK#9A",
		"an endless one":   "+$" + strings.Repeat("a", 20000),
		"a refusal":        "-",
		"a byte":           "*",
		"half a packet":    "+$O" + hangUp,
		"half a checksum":  "+$OK#9" + hangUp,
		"the end":          hangUp,
		"an exit":          frame("W00"),
		"a death":          frame("X09"),
		"a shutdown":       frame("T03thread:p01.01;"),
	}
	ends := "the end, half a packet, half a checksum, an exit, a death"
	for _, point := range points {
		for name, reply := range bad {
			if point[0] == 'm' && name == "an error" {
				continue // TestRangeErrors
			}
			if point == "vCont" && (name == "an interrupt" || name == "a signal") {
				continue // TestInterrupt, TestOthers: they are no bad replies there
			}
			t.Run(point+"/"+name, func(t *testing.T) {
				s, g := newStub(t, map[string]string{point: reply})
				err := session(g)
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", point)[:len(point)+1]) {
					t.Fatalf("no error that names what was asked: %v", err)
				}
				if ended := errors.Is(err, guest.ErrEnded); ended != strings.Contains(ends, name) &&
					!(point == "vCont" && name == "a shutdown") {
					t.Errorf("the guest has ended, or not: %v", err)
				}
				_, again := g.Run(time.Millisecond)
				if again == nil || again != g.Plant(nil) || again != g.Release() {
					t.Errorf("it goes on: %v", again)
				}
				g.Close()
				<-s.done
				if last := s.writes[len(s.writes)-1]; !strings.Contains(last, "$"+point) {
					t.Errorf("something was sent thereafter: %q", last)
				}
			})
		}
	}
}

// TestUnknownRegisters: another list of registers is refused by name.
func TestUnknownRegisters(t *testing.T) {
	for change, want := range map[string]string{
		`name="rsi"`:                "register 4 of 324 is not name=\"rsi\"",
		`name="rip" bitsize="64"`:   "register 16 of 324 is not name=\"rip\"",
		`name="eflags" bitsize="32`: "register 17 of 324 is not name=\"eflags\"",
	} {
		xml := "l" + strings.Replace(registersXML(), change, `name="eip" bitsize="32"`, 1)
		if change[6] == 'e' {
			xml = "l" + strings.Replace(registersXML(), change, `name="eflags" bitsize="64`, 1)
		}
		_, g := newStub(t, map[string]string{"qXfer": frame(xml)})
		if err := g.begin(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// TestRangeErrors: memory that is not there is no error of the connection.
func TestRangeErrors(t *testing.T) {
	_, g := newStub(t, map[string]string{"m1800": frame("E14")})
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	r := []*guest.Range{{Addr: 0x1000, Buf: make([]byte, 5000)}, {Addr: 0x9000, Buf: make([]byte, 3)}, {Addr: 1}}
	if err := g.Read(0, r); err != nil {
		t.Fatal(err)
	}
	if r[0].Err == nil || r[1].Err != nil || r[2].Err != nil || string(r[1].Buf) != "ZZZ" {
		t.Errorf("%+v", r[1:])
	}
	if err := g.Read(1, r); err == nil {
		t.Error("there is a virtual CPU 1")
	}
	if err := g.Read(0, r[1:]); err != nil || r[1].Err != nil {
		t.Error(err, r[1].Err)
	}
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

func TestPlantRefuses(t *testing.T) {
	s, g := newStub(t, nil)
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	if err := g.Plant([]uint64{1, 2, 3, 4, 4, 1}); err != nil {
		t.Error(err)
	}
	if err := g.Plant([]uint64{1, 2, 3, 4, 5}); err == nil {
		t.Error("five hardware traps")
	}
	g.Close()
	<-s.done
	if last := s.writes[len(s.writes)-1]; strings.Contains(last, ",5,") || strings.Contains(last, "z1,4,1#") == false {
		t.Errorf("sent %q", last)
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

// FuzzReplies: the stub says anything at all, from the beginning or once the guest
// was opened, and hangs up.
func FuzzReplies(f *testing.F) {
	begin := frame("") + frame("QCp01.01") + frame("PacketSize=1000;") + frame("l"+registersXML()) + frame("mp01.01") + frame("mp01.02") + frame("l")
	f.Add("", true)
	f.Add(begin[:len(begin)/2], true)
	regs := (&stub{rip: hook}).reply("g")
	f.Add(frame("OK")+regs+frame("OK")+frame("OK")+frame("OK")+"+"+frame("T05thread:p01.01;")[1:]+regs+frame("5a5a")+frame("OK"), false)
	f.Add(frame("OK")+regs+frame("E22")+"+$T02thread:p01.02;#", false)
	f.Fuzz(func(t *testing.T, replies string, whole bool) {
		if !whole {
			replies = begin + replies
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[1])
		if n, err := unix.SendmsgN(pair[1], []byte(replies), nil, nil, unix.MSG_DONTWAIT); err != nil || n < len(replies) {
			t.Skip("more than a socket holds")
		}
		unix.Shutdown(pair[1], unix.SHUT_WR)
		g := &Guest{Trap: Hardware, c: conn{fd: pair[0], patience: time.Minute}, selected: -1}
		defer g.Close()
		first := session(g)
		if _, err := g.Run(0); err == nil {
			t.Errorf("goes on after %v", first)
		}
		g.Freeze()
	})
}

// TestThreads: a list of virtual CPUs that has changed is an error of the stop that it is seen at, and nothing
// is let run thereafter.
func TestThreads(t *testing.T) {
	for name, list := range map[string]map[string]string{
		"plugged in":       {"qs": frame("mp01.02")},
		"unplugged":        {"qf": frame("l")},
		"another in place": {"qf": frame("mp01.02")},
	} {
		t.Run(name, func(t *testing.T) {
			s, g := newStub(t, nil)
			if err := errors.Join(g.begin(), g.Plant([]uint64{hook})); err != nil {
				t.Fatal(err)
			}
			if n := g.Trapped(); n != 1 {
				t.Errorf("%d virtual CPUs have traps", n)
			}
			s.set(list, hook)
			_, err := g.Run(0)
			if err == nil || !strings.Contains(err.Error(), "was plugged in, where it has no traps, or unplugged") {
				t.Errorf("the stop: %v", err)
			}
			if err := g.Freeze(); err != nil {
				t.Errorf("freezing: %v", err)
			}
			g.Close()
			<-s.done
			if n := strings.Count(strings.Join(s.writes, ""), "vCont;c"); n != 1 {
				t.Errorf("the guest was let run %d times", n)
			}
		})
	}
}
