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

// TestRelease: the answer is given, the traps are gone and the guest runs. There is one
// virtual CPU: another could stand at the hook, to which it was sent without a call, and
// would return to nowhere.
func TestRelease(t *testing.T) {
	m := boot(t, 1)
	first := m.dial(t)
	plant(t, first, again) // which the one that releases does not know
	first.Close()
	g := m.dial(t)
	plant(t, g, hook)
	g.planted = append(g.planted, again)
	s, err := g.Run(0)
	for err == nil && s.Regs.RIP != hook {
		answer(t, g, s, guest.Answer{RIP: hook}) // not by the instruction that the trap is at
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
		t.Errorf("%d calls, with %#x in all: the answer was not given, or the guest did not run", ret, sum)
	}
}

// TestCut: a connection that ends before QEMU does is not the end of the guest.
func TestCut(t *testing.T) {
	m := boot(t, 1)
	path := filepath.Join(t.TempDir(), "proxy")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cut := make(chan struct{})
	go func() { // the process at the other end is this one, which lives on
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
	g.c.patience = 100 * time.Millisecond // with a process that does not end
	close(cut)
	if _, err := g.Run(0); err != nil && (errors.Is(err, guest.ErrEnded) || !errors.Is(err, errCut)) {
		t.Errorf("got %v", err)
	}
	if _, err := g.Run(0); !errors.Is(err, errCut) {
		t.Errorf("got %v", err)
	}
	if err := g.Freeze(); err == nil {
		t.Error("the guest is said to be frozen")
	}
	m.dial(t) // QEMU has a place for the next
}

// TestEnd: however a guest ends, that is what the error says.
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

// TestOthers: a guest that QEMU's monitor pauses is waited for; a trap that somebody
// else has set is an error, and the guest can be frozen thereafter.
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
					t.Errorf("paused, and the guest is %v", status)
				}
				m.qmp(t, "cont")
				if status := m.qmp(t, "query-status"); status["running"] != true {
					t.Errorf("gone on, and the guest is %v", status)
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
		if _, err := g.Run(0); err == nil || !strings.Contains(err.Error(), "virtual CPU 0 stopped at 0xf0139") {
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
		second := &Guest{c: conn{fd: fd, patience: 100 * time.Millisecond}}
		if err := second.begin(); err == nil || !strings.Contains(err.Error(), "one debugger at a time") {
			t.Errorf("got %v", err)
		}
		second.Close()
		plant(t, g, hook)
		runToHit(t, g)
	})
}

// TestAnswered: a guest that was answered runs, can only be waited for or frozen, and
// is then as it was.
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
		t.Errorf("looking at the virtual CPUs: %v", err)
	}
	if err := g.Answer(&s, guest.Answer{}); err == nil {
		t.Error("answered twice")
	}
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	if status := m.qmp(t, "query-status"); status["running"] != false {
		t.Errorf("frozen, and the guest is %v", status)
	}
	plant(t, g, hook)
	runToHit(t, g)
}
