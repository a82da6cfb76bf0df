package gdbstub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// status returns QEMU's name for the state of the guest.
func (m *machine) status(t testing.TB) string {
	t.Helper()
	s, _ := m.qmp(t, "query-status")["status"].(string)
	return s
}

// pause stops the guest as its host would. QEMU ignores the command while the guest is stopped at a
// hit.
func (m *machine) pause(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(timeLimit); time.Now().Before(end); {
		m.qmp(t, "stop")
		if m.status(t) == "paused" {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the guest is not paused")
}

// serve answers hits until QEMU ends. Every call of each processor must be answered exactly once.
func serve(g *Guest, answered []atomic.Int64) error {
	for {
		s, err := g.Run(0)
		var ret, back [8]byte
		if err == nil && s.Hit {
			err = g.Read(s.VCPU, []*guest.Range{{Addr: returned + uint64(8*s.VCPU), Buf: ret[:]}, {Addr: s.Regs.RSP, Buf: back[:]}})
			le, n := binary.LittleEndian, uint64(answered[s.VCPU].Load())
			if err == nil && le.Uint64(ret[:]) != n {
				return fmt.Errorf("%d hits of processor %d were answered, but it made %d calls", n, s.VCPU, le.Uint64(ret[:]))
			}
			if err == nil {
				// The value determines how long the guest does something else.
				err = g.Answer(&s, guest.Answer{Return: true, RAX: pastime(200_000), RSP: s.Regs.RSP + 8, RIP: le.Uint64(back[:])})
			}
			if err == nil {
				answered[s.VCPU].Add(1)
			}
		}
		if errors.Is(err, guest.ErrEnded) {
			return nil
		}
		if err != nil && err != guest.ErrMoved {
			return err
		}
	}
}

// TestPaused: a guest that its host has paused stands still until its host continues it, and then
// runs without further action. No hit is lost or answered twice, whether the pause comes between
// hits, at a hit, twice in a row, or during a snapshot.
func TestPaused(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", disk, "64M").CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	for _, processors := range []int{1, 2} {
		t.Run(fmt.Sprint(processors), func(t *testing.T) {
			m := boot(t, processors, "-drive", "if=none,id=snapshots,format=qcow2,file="+disk)
			g := m.dial(t)
			plant(t, g, hook)
			answered, done := make([]atomic.Int64, processors), make(chan error, 1)
			go func() { done <- serve(g, answered) }()
			count := func() (n int64) {
				for i := range answered {
					n += answered[i].Load()
				}
				return n
			}
			goesOn := func() time.Duration {
				began, before := time.Now(), count()
				for count() < before+3 {
					select {
					case err := <-done:
						t.Fatal(err)
					case <-time.After(time.Millisecond):
					}
					if time.Since(began) > timeLimit {
						t.Fatalf("the guest is %q and does not run", m.status(t))
					}
				}
				return time.Since(began)
			}
			goesOn()
			var longest time.Duration
			for n := range 24 {
				time.Sleep(time.Duration(rand.N(30)) * time.Millisecond)
				switch n % 6 {
				case 0:
					if r := m.qmp(t, "human-monitor-command", map[string]any{"command-line": "savevm it"}); r["text"] != "" {
						t.Fatalf("savevm: %v", r)
					}
				case 1: // at any moment, and twice in a row
					for range 2 {
						m.qmp(t, "stop")
						m.qmp(t, "cont")
					}
				default:
					m.pause(t)
					before := count()
					if n%6 == 2 {
						time.Sleep(2 * pollInterval) // long enough for a poll
					}
					if got := m.status(t); got != "paused" || count() > before+1 { // one hit may have been answered just before
						t.Fatalf("the guest was paused, but is %q; %d hits were answered since", got, count()-before)
					}
					m.qmp(t, "cont")
				}
				longest = max(longest, goesOn())
			}
			fmt.Fprintln(m.qmpW, `{"execute":"quit"}`)
			if err := <-done; err != nil {
				t.Error(err)
			}
			t.Logf("%d hits; after a pause the guest ran again within %v", count(), longest)
		})
	}
}
