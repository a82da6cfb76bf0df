package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/vmseal/vmseal/signer"
)

// Progress starts a bar on standard error and gives the callback that moves it,
// and a function that takes it away. Both do nothing unless a person is looking:
// standard error is a terminal, and neither --quiet nor --json is given.
func (o *Output) Progress() (update func(signer.Progress), done func()) {
	if o.JSON || o.Quiet || !isTerminal(o.stderr) {
		return nil, func() {}
	}
	b := &bar{w: o.stderr}
	o.setBar(b)
	return b.update, func() {
		b.aside(func() {})
		o.setBar(nil)
	}
}

func (o *Output) setBar(b *bar) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bar = b
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// fileCost is how many bytes are hashed in the time of one signature. The length
// of the bar counts both, so that it moves evenly.
const fileCost = 1 << 20

// work is how far along p is.
func work(files int, bytes int64) int64 { return int64(files)*fileCost + bytes }

// bar shows how far a run has come. A nil bar is no bar.
type bar struct {
	mu    sync.Mutex
	w     io.Writer
	phase signer.Phase
	p     *progressbar.ProgressBar
}

var phaseNames = map[signer.Phase]string{
	signer.PhaseCopy:   "copying",
	signer.PhaseList:   "listing",
	signer.PhaseSign:   "signing",
	signer.PhaseVerify: "verifying",
	signer.PhaseCommit: "writing",
}

func (b *bar) update(p signer.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.p == nil || b.phase != p.Phase {
		b.start(p)
	}
	if measured(p) {
		b.p.Describe(describe(p))
		b.p.Set64(min(work(p.Files, p.Bytes), work(p.TotalFiles, p.TotalBytes)))
	}
}

// measured reports whether it is known how much the phase has to do.
func measured(p signer.Progress) bool {
	switch p.Phase {
	case signer.PhaseCopy:
		return p.TotalBytes > 0
	case signer.PhaseSign, signer.PhaseVerify:
		return p.TotalFiles > 0 || p.TotalBytes > 0
	}
	return false
}

func describe(p signer.Progress) string {
	bytes := Size(p.Bytes) + "/" + Size(p.TotalBytes)
	if p.TotalFiles == 0 {
		return fmt.Sprintf("%s %s", phaseNames[p.Phase], bytes)
	}
	return fmt.Sprintf("%s %d/%d files, %s", phaseNames[p.Phase], p.Files, p.TotalFiles, bytes)
}

func (b *bar) start(p signer.Progress) {
	if b.p != nil {
		b.p.Clear()
	}
	b.phase = p.Phase
	total := int64(-1) // a spinner
	if measured(p) {
		total = work(p.TotalFiles, p.TotalBytes)
	}
	b.p = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(b.w),
		progressbar.OptionSetDescription(phaseNames[p.Phase]),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionFullWidth(),
		progressbar.OptionClearOnFinish(),
	)
}

// aside takes the bar off the screen while print prints whole lines there.
func (b *bar) aside(print func()) {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.p != nil {
			b.p.Clear()
		}
	}
	print()
}
