package enforcer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmseal/vmseal/formats/escape"
)

// Verdict is the outcome of a hit.
type Verdict string

const (
	Allow  Verdict = "allow"
	Deny   Verdict = "deny"
	Pass   Verdict = "pass" // no decision yet: the kernel's function runs
	Freeze Verdict = "freeze"

	// Jump: user code jumped to a trapped address. Counted, not logged.
	Jump Verdict = "jump"
)

// Record is the audit record of one hit.
type Record struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"` // "hit"
	Guest   string    `json:"guest"`
	VCPU    int       `json:"vcpu"`
	Hook    string    `json:"hook"`
	Func    string    `json:"func,omitempty"`   // purpose of the access: enum ima_hooks
	Path    string    `json:"path,omitempty"`   // as given by the guest's kernel; see formats/escape
	Digest  string    `json:"digest,omitempty"` // digest that was verified
	Key     string    `json:"key,omitempty"`    // key id in the signature
	Verdict Verdict   `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	Spent   Spent     `json:"spent_ns"`
}

// Spent is the enforcer's own time for a hit, in nanoseconds.
type Spent struct {
	Registers time.Duration `json:"registers"` // from the notice of the stop until the registers were read
	Memory    time.Duration `json:"memory"`
	Verify    time.Duration `json:"verify"`
	Answer    time.Duration `json:"answer"` // everything else, until the answer was given
}

// Audit writes records in a goroutine of its own, so that a slow disk does not delay verdicts. If
// its queue is full, it drops records of allowed and passed hits, counts them and reports the
// number. Denials, freezes and notes wait for room first.
type Audit struct {
	guest string
	queue chan any
	wait  time.Duration // how long an important line waits for room in the queue
	warn  func(text string)
	lost  atomic.Uint64
	done  chan error

	mu     sync.Mutex
	counts map[Verdict]int
}

// queueSize is the maximum number of waiting records.
const queueSize = 1024

// queueWait is long enough for a writer that makes progress. It is bounded because the guest stands
// still meanwhile.
const queueWait = 2 * time.Second

// NewAudit returns an Audit that writes to w, for the guest of that name, until Close. It calls
// warn when the first record is lost, and again each time the number of lost records has doubled.
// warn must not block.
func NewAudit(w io.Writer, guest string, warn func(text string)) *Audit {
	a := &Audit{guest: guest, queue: make(chan any, queueSize), wait: queueWait, warn: warn, done: make(chan error, 1), counts: map[Verdict]int{}}
	go a.write(w)
	return a
}

// Hit counts and queues a record. Only denials and freezes wait for room.
func (a *Audit) Hit(r Record) {
	a.mu.Lock()
	a.counts[r.Verdict]++
	a.mu.Unlock()
	if r.Verdict == Jump {
		return
	}
	r.Type, r.Guest = "hit", a.guest
	r.Path, r.Reason = escape.Path(r.Path), escape.Path(r.Reason)
	a.add(r, r.Verdict == Deny || r.Verdict == Freeze)
}

// Note queues a line of another type. It waits for room.
func (a *Audit) Note(kind, text string) { a.add(a.note(kind, escape.Path(text)), true) }

func (a *Audit) note(kind, text string) any {
	return map[string]any{"time": time.Now(), "type": kind, "guest": a.guest, "text": text}
}

// add queues a line. If the queue is full and wait is false, the line is lost at once.
func (a *Audit) add(v any, wait bool) {
	select {
	case a.queue <- v:
		return
	default:
	}
	if wait {
		select {
		case a.queue <- v:
			return
		case <-time.After(a.wait):
		}
	}
	a.lose("they arrive faster than they are written")
}

// lose counts a lost line and warns with the reason.
func (a *Audit) lose(reason string) {
	if n := a.lost.Add(1); n&(n-1) == 0 {
		a.warn(fmt.Sprintf("audit records are lost, %d so far: %s", n, reason))
	}
}

// Lost returns the number of records that were lost because the queue was full or a write failed.
func (a *Audit) Lost() uint64 { return a.lost.Load() }

// write continues after an error: a full disk costs records, nothing else.
func (a *Audit) write(w io.Writer) {
	var first error
	var reported uint64
	var torn bool // the last line is incomplete
	put := func(v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if torn {
			text = append([]byte{'\n'}, text...)
		}
		n, err := w.Write(append(text, '\n'))
		torn = err != nil && (torn || n > 0)
		return err
	}
	for v := range a.queue {
		if v == nil {
			break // Close
		}
		if err := put(v); err != nil {
			a.lose(err.Error())
			first = cmp.Or(first, fmt.Errorf("writing the audit: %w", err))
			continue
		}
		if n := a.lost.Load(); n != reported && put(a.note("lost", fmt.Sprintf("%d records were lost so far", n))) == nil {
			reported = n
		}
	}
	a.done <- first
}

// Close writes the waiting records and a summary of all hits as the last line, for at most the
// given time. Records added later are lost.
func (a *Audit) Close(limit time.Duration) error {
	go func() { // because the queue may still be full
		a.queue <- a.summary()
		a.queue <- nil
	}()
	select {
	case err := <-a.done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("writing the audit: not finished after %v", limit)
	}
}

func (a *Audit) summary() any {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.counts
	return map[string]any{
		"time": time.Now(), "type": "summary", "guest": a.guest, "hits": n[Allow] + n[Deny] + n[Pass] + n[Freeze] + n[Jump],
		"allowed": n[Allow], "denied": n[Deny], "passed": n[Pass], "user_jumps": n[Jump], "lost": a.Lost(),
	}
}
