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

// Verdict is what became of a hit.
type Verdict string

const (
	Allow  Verdict = "allow"
	Deny   Verdict = "deny"
	Pass   Verdict = "pass" // nothing to decide yet: the kernel's function runs
	Freeze Verdict = "freeze"

	// Jump is user code that came to the address of a function: counted, and no line.
	Jump Verdict = "jump"
)

// Record is one hit in the audit.
type Record struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"` // "hit"
	Guest   string    `json:"guest"`
	VCPU    int       `json:"vcpu"`
	Hook    string    `json:"hook"`
	Func    string    `json:"func,omitempty"`   // what the file is wanted for: enum ima_hooks
	Path    string    `json:"path,omitempty"`   // as the guest's kernel gave it; see formats/escape
	Digest  string    `json:"digest,omitempty"` // the one that was signed
	Key     string    `json:"key,omitempty"`    // id of the key that the label names
	Verdict Verdict   `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	Spent   Spent     `json:"spent_ns"`
}

// Spent is this program's own time for a hit, in nanoseconds.
type Spent struct {
	Registers time.Duration `json:"registers"` // from the news of the stop to the registers
	Memory    time.Duration `json:"memory"`
	Verify    time.Duration `json:"verify"`
	Answer    time.Duration `json:"answer"` // everything else, until the answer is handed over
}

// Audit writes records in a goroutine of its own, so that a slow disk delays no
// verdict. What finds the queue full is lost, counted and told of; denials, what freezes
// the guest and notes first wait for room.
type Audit struct {
	guest string
	queue chan any
	room  time.Duration // how long a line that others must not push out waits for room
	warn  func(text string)
	lost  atomic.Uint64
	done  chan error

	mu     sync.Mutex
	counts map[Verdict]int
}

// queued is how many records may wait.
const queued = 1024

// roomLimit is long for a writer that goes on, and no end for the guest, which stands still
// meanwhile, at its next hit at the latest.
const roomLimit = 2 * time.Second

// NewAudit writes to w for the guest of that name, until Close. warn is told of the first
// record that is lost, and whenever there are twice as many as it was told of. It must not block.
func NewAudit(w io.Writer, guest string, warn func(text string)) *Audit {
	a := &Audit{guest: guest, queue: make(chan any, queued), room: roomLimit, warn: warn, done: make(chan error, 1), counts: map[Verdict]int{}}
	go a.write(w)
	return a
}

// Hit counts a record and adds it. It waits for the writer with those alone that say what the
// guest was kept from.
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

// Note adds a line of another type, which are few.
func (a *Audit) Note(kind, text string) { a.add(a.note(kind, escape.Path(text)), true) }

func (a *Audit) note(kind, text string) any {
	return map[string]any{"time": time.Now(), "type": kind, "guest": a.guest, "text": text}
}

// add queues a line. If there is no room it waits for the writer, or does not.
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
		case <-time.After(a.room):
		}
	}
	a.lose("they come faster than they are written")
}

// lose counts a line, and says why there is none.
func (a *Audit) lose(reason string) {
	if n := a.lost.Add(1); n&(n-1) == 0 {
		a.warn(fmt.Sprintf("audit records are lost, %d so far: %s", n, reason))
	}
}

// Lost is the number of records for which there was no room, or that could not be
// written.
func (a *Audit) Lost() uint64 { return a.lost.Load() }

// write goes on after an error, so that a full disk costs records and not more.
func (a *Audit) write(w io.Writer) {
	var first error
	var told uint64
	var torn bool // the last line has only its beginning
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
		if n := a.lost.Load(); n != told && put(a.note("lost", fmt.Sprintf("%d records were lost so far", n))) == nil {
			told = n
		}
	}
	a.done <- first
}

// Close writes what waits, and the summary of all hits as the last line, for at most the
// time given. Records added later are lost.
func (a *Audit) Close(limit time.Duration) error {
	go func() { // since there may be no room yet
		a.queue <- a.summary()
		a.queue <- nil
	}()
	select {
	case err := <-a.done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("writing the audit: not done after %v", limit)
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
