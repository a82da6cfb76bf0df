package e2e

import (
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// TestInPlaceInterrupted: a run in place that is told to stop, before any of its changes and once more before the next,
// ends with the image as it was or complete, never in between, and without a log.
func TestInPlaceInterrupted(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl")
	image, counts := tinyImage(t, bed.Dir(t)), &tally{}
	t.Run("each", func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
			t.Run(sig.String(), func(t *testing.T) {
				if signal.Ignored(sig) {
					t.Skip("the signal is ignored here, and so in what is started from here")
				}
				t.Parallel()
				tr := newTrial(t, memoryDir(t, "64m"), image)
				for n := 1; tr.interrupt(t, sig, n, counts); n++ {
				}
			})
		}
	})
	t.Logf("interrupted: %v", counts)
	counts.expect(t, string(untouched), string(complete))
}

// interrupt sends the signal before the n-th change, and before the one after it. It reports whether there is an n-th.
func (tr *trial) interrupt(t *testing.T, sig syscall.Signal, n int, counts *tally) (hit bool) {
	t.Helper()
	seen, held := 0, false
	cmd := tr.signing()
	r := supervise(t, cmd, tr.dir(), func(op operation) unix.Errno {
		if op.changes() {
			if seen++; seen == n || seen == n+1 {
				cmd.Process.Signal(sig)
			}
			held = held || seen == n && exists(tr.log())
			hit = hit || seen == n
		}
		return 0
	})
	if !hit {
		r.expect(t, 0)
		return false
	}
	_, hidden := tr.sweep(t)
	o := tr.outcome(t)
	switch {
	case o == complete && r.code == 0, // too late
		o == untouched && r.code == 1 && strings.Contains(r.stderr, "interrupted") && len(hidden) == 0,
		o == untouched && !held && (r.code == -1 || sig == syscall.SIGQUIT): // before there was a log: that is to be obeyed
	default:
		t.Errorf("%v before change %d: the image is %s, hidden files %q:\n%v", sig, n, o, hidden, r)
	}
	counts.add(string(o))
	if o == pending {
		tr.recover(t)
	}
	if o != untouched {
		tr.reset(t)
	}
	return true
}
