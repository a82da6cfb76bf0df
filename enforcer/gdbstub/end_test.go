package gdbstub

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// TestRelease: after Release the answer is given, the traps are gone and the guest runs. The
// machine has one vCPU. A second one could be at hook after the answers below, which set rip
// without a call, and would have no return address.
func TestRelease(t *testing.T) {
	m := boot(t, 1)
	first := m.dial(t)
	plant(t, first, again) // the releasing connection does not know this trap
	first.Close()
	g := m.dial(t)
	plant(t, g, hook)
	g.planted = append(g.planted, again)
	s, err := g.Run(0)
	for err == nil && s.Regs.RIP != hook {
		answer(t, g, s, guest.Answer{RIP: hook}) // skips the instruction with the trap
		s, err = g.Run(0)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer(t, g, s, guest.Answer{RIP: again + 5, RAX: 1 << 40, RSP: s.Regs.RSP, Return: true})
	if err := g.Release(); err != nil {
		t.Fatal(err)
	}
	if status := m.qmp(t, "query-status"); status["running"] != true {
		t.Errorf("the guest is %v", status)
	}
	g.Close()
	if status := m.qmp(t, "query-status"); status["running"] != true {
		t.Errorf("the guest is %v", status)
	}
	g = m.dial(t)
	m.goOn(t, g)
	runFreely(t, g, s.VCPU)
	if ret, _, sum := counters(t, g, s.VCPU); ret < 2 || sum>>40 != 1 {
		t.Errorf("%d calls with the sum %#x: the answer was not given, or the guest did not run", ret, sum)
	}
}

// TestDropped: a connection that ends before QEMU does is not the end of the guest.
func TestDropped(t *testing.T) {
	m := boot(t, 1)
	path := filepath.Join(t.TempDir(), "proxy")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cut := make(chan struct{})
	go func() { // the process at the other end is this one, which does not end
		in, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		out, err := net.Dial("unix", m.path)
		if err != nil {
			t.Error(err)
			return
		}
		go io.Copy(in, out)
		go io.Copy(out, in)
		<-cut
		out.Close()
		in.Close()
	}()
	g, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	plant(t, g, hook)
	s := runToHit(t, g)
	runOn(t, g, s)
	g.c.timeout = 100 * time.Millisecond // the process does not end
	close(cut)
	if _, err := g.Run(0); err != nil && (errors.Is(err, guest.ErrEnded) || !errors.Is(err, errDropped)) {
		t.Errorf("got %v", err)
	}
	if _, err := g.Run(0); !errors.Is(err, errDropped) {
		t.Errorf("got %v", err)
	}
	if err := g.Freeze(); err == nil {
		t.Error("Freeze claims that the guest is frozen")
	}
	m.dial(t) // QEMU accepts another connection
}

// TestEnd: the error says that the guest has ended, however it ended.
func TestEnd(t *testing.T) {
	ends := map[string]func(m *machine){
		"killed":  (*machine).kill,
		"quit":    func(m *machine) { fmt.Fprintln(m.qmpW, `{"execute":"quit"}`) },
		"reset":   func(m *machine) { fmt.Fprintln(m.qmpW, `{"execute":"system_reset"}`) },
		"standby": func(m *machine) { fmt.Fprintln(m.qmpW, `{"execute":"system_reset"}`) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			var args []string
			if name == "standby" {
				args = []string{"-no-shutdown"}
			}
			m := boot(t, 1, args...)
			g := m.dial(t)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				m.await(t, "RESUME")
				end(m)
			}()
			_, err := g.Run(0)
			if !errors.Is(err, guest.ErrEnded) {
				t.Errorf("got %v", err)
			}
			<-ended
			if err := g.Freeze(); !errors.Is(err, guest.ErrEnded) {
				t.Errorf("freezing: %v", err)
			}
			t.Log(err)
		})
	}
}

// TestOthers: Run waits while QEMU's monitor pauses the guest. A hit of a trap that somebody else
// has set is an error, and the guest can be frozen after that.
func TestOthers(t *testing.T) {
	t.Run("monitor", func(t *testing.T) {
		m := boot(t, 2)
		g := m.dial(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.await(t, "RESUME")
			for range 3 {
				m.qmp(t, "stop")
				if status := m.qmp(t, "query-status"); status["running"] != false {
					t.Errorf("after the pause the guest is %v", status)
				}
				m.qmp(t, "cont")
				if status := m.qmp(t, "query-status"); status["running"] != true {
					t.Errorf("after continuing the guest is %v", status)
				}
			}
			m.qmp(t, "quit")
		}()
		if _, err := g.Run(0); !errors.Is(err, guest.ErrEnded) {
			t.Errorf("got %v", err)
		}
		<-done
	})
	t.Run("trap", func(t *testing.T) {
		m := boot(t, 1)
		first := m.dial(t)
		plant(t, first, again)
		first.Close()
		g := m.dial(t)
		plant(t, g, hook)
		if s, err := g.Run(0); err != nil || s.Hit {
			t.Errorf("got %+v, %v", s, err)
		}
		if _, err := g.Run(0); err == nil || !strings.Contains(err.Error(), "vCPU 0 stopped at 0xf0139") {
			t.Errorf("got %v", err)
		}
		if err := g.Freeze(); err != nil {
			t.Error(err)
		}
		if status := m.qmp(t, "query-status"); status["running"] != false {
			t.Errorf("the guest is %v", status)
		}
	})
	t.Run("debugger", func(t *testing.T) {
		m := boot(t, 1)
		g := m.dial(t)
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: m.path}); err != nil {
			t.Fatal(err)
		}
		second := &Guest{c: conn{fd: fd, timeout: 100 * time.Millisecond}}
		if err := second.begin(); err == nil || !strings.Contains(err.Error(), "one debugger at a time") {
			t.Errorf("got %v", err)
		}
		second.Close()
		plant(t, g, hook)
		runToHit(t, g)
	})
}

// TestAnswered: after Answer the guest runs. It can only be waited for or frozen.
func TestAnswered(t *testing.T) {
	m := boot(t, 1)
	g := m.dial(t)
	plant(t, g, hook)
	s := runToHit(t, g)
	plant(t, g)
	runOn(t, g, s)
	m.await(t, "RESUME")
	if err := g.Plant([]uint64{hook}); err != errRunning {
		t.Errorf("planting: %v", err)
	}
	if _, err := g.VCPUs(); err != errRunning {
		t.Errorf("reading the vCPUs: %v", err)
	}
	if err := g.Answer(&s, guest.Answer{}); err == nil {
		t.Error("answered twice")
	}
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	if status := m.qmp(t, "query-status"); status["running"] != false {
		t.Errorf("after Freeze the guest is %v", status)
	}
	plant(t, g, hook)
	runToHit(t, g)
}
