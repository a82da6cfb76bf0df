package gdbstub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

func TestSession(t *testing.T) {
	s, g := newStub(t, nil)
	if err := session(g); err != nil {
		t.Fatal(err)
	}
	if err := g.Plant(nil); err != errGone {
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

// TestExchanges checks the packets of a hit and their order.
func TestExchanges(t *testing.T) {
	s, g := newStub(t, nil)
	if err := session(g); err != nil {
		t.Fatal(err)
	}
	g.Close()
	<-s.done
	strip := func(w string) (names string) {
		for _, p := range strings.Split(w, "$")[1:] {
			if name := p[:strings.IndexAny(p, "#,;=")]; name != "" { // not the empty packet at the beginning
				names += name + " "
			}
		}
		return names
	}
	var got []string
	for _, w := range s.writes[len(s.writes)-10:] {
		got = append(got, strip(w))
	}
	want := []string{"Hgp01.01 g ", "z1 Z1 z1 Z1 ", "qC vCont ", "g qfThreadInfo qsThreadInfo ", "m1000 m1800 m2000 m9000 ", "Hgp01.01 g P0 P7 P10 qRcmd ", "qC vCont ", "g qfThreadInfo qsThreadInfo ", "z1 ", "D "}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// TestRefusedAnswer: if QEMU refuses to set a register, the guest does not continue, and Freeze
// finds it stopped.
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
			t.Errorf("%s is refused, but the guest was resumed %d times", register, n)
		}
	}
}

// TestBadReplies: whatever the stub answers at any point, the error names the packet, and nothing
// is sent after it.
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
			if point == "vCont" && (name == "an interrupt" || name == "a signal" || name == "a shutdown") {
				continue // these are valid here: see TestInterrupt and TestOthers
			}
			t.Run(point+"/"+name, func(t *testing.T) {
				s, g := newStub(t, map[string]string{point: reply})
				err := session(g)
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", point)[:len(point)+1]) {
					t.Fatalf("no error that names the packet: %v", err)
				}
				if ended := errors.Is(err, guest.ErrEnded); ended != strings.Contains(ends, name) {
					t.Errorf("wrong about whether the guest has ended: %v", err)
				}
				_, again := g.Run(time.Millisecond)
				if again == nil || again != g.Plant(nil) || again != g.Release() {
					t.Errorf("it continues: %v", again)
				}
				g.Close()
				<-s.done
				if last := s.writes[len(s.writes)-1]; !strings.Contains(last, "$"+point) {
					t.Errorf("something was sent after it: %q", last)
				}
			})
		}
	}
}

// TestUnknownRegisters: the error for another list of registers names the register.
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

// TestRangeErrors: memory that does not exist is not an error of the connection.
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
	if err := g.Read(0, r[1:]); err != nil || r[1].Err != nil {
		t.Error(err, r[1].Err)
	}
	if err := g.Read(1, r); err == nil {
		t.Error("there is a vCPU 1")
	}
}

// FuzzReplies: the stub sends anything, from the beginning or after the guest was opened, and hangs
// up.
func FuzzReplies(f *testing.F) {
	begin := ""
	for _, replies := range []string{
		frame("QCp01.01"), frame("PacketSize=1000;"), frame("OK") + frame("l"+registersXML()), frame("mp01.01"), frame("mp01.02"), frame("l"), monitorSays(saysHit),
	} {
		begin += frame("") + replies // reply to the empty packet at the beginning of a batch
	}
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
		g := &Guest{Trap: Hardware, c: conn{fd: pair[0], timeout: time.Minute}, selected: -1}
		defer g.Close()
		first := session(g)
		if _, err := g.Run(0); err == nil {
			t.Errorf("continues after %v", first)
		}
		g.Freeze()
	})
}
