package enforcer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// TestAuditNeverBlocks: with a writer that hangs, records are lost, counted and
// reported, and nobody waits.
func TestAuditNeverBlocks(t *testing.T) {
	r, w := io.Pipe()
	a := NewAudit(w, "guest", func(string) {})
	for range 2 * queued {
		a.Hit(Record{Hook: "h"}) // would never come back
	}
	if n := a.Lost(); n < queued-2 || n > queued {
		t.Errorf("%d lost", n)
	}
	lines := make(chan []string)
	go func() {
		var all []string
		for s := bufio.NewScanner(r); s.Scan(); {
			all = append(all, s.Text())
		}
		lines <- all
	}()
	lost := a.Lost()
	if err := a.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	w.Close()
	all := <-lines
	hits := 0
	for _, l := range all {
		if strings.Contains(l, `"type":"hit"`) {
			hits++
		}
	}
	if uint64(hits)+lost != 2*queued {
		t.Errorf("%d written, %d lost", hits, lost)
	}
	if text := strings.Join(all, "\n"); !strings.Contains(text, `"type":"lost"`) {
		t.Error("the loss was not reported")
	}
}

// TestAuditFlood: what the guest was kept from, and notes, find their place in the audit behind
// whatever number of others, as soon as the writer goes on.
func TestAuditFlood(t *testing.T) {
	r, w := io.Pipe()
	a := NewAudit(w, "guest", func(string) {})
	a.room = time.Minute
	for range 2 * queued {
		a.Hit(Record{Verdict: Allow})
	}
	added := make(chan struct{})
	go func() {
		defer close(added)
		for range 2 * queued { // for which there is no room at once
			a.Hit(Record{Verdict: Deny})
		}
		a.Hit(Record{Verdict: Freeze})
		a.Note("reload", "t")
		a.Note("frozen", "t")
	}()
	text := make(chan string)
	go func() {
		all, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		text <- string(all)
	}()
	<-added
	if err := a.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	w.Close()
	all := <-text
	for want, times := range map[string]int{
		`"verdict":"deny"`: 2 * queued, `"verdict":"freeze"`: 1, `"type":"reload"`: 1, `"type":"frozen"`: 1, `"type":"summary"`: 1,
	} {
		if n := strings.Count(all, want); n != times {
			t.Errorf("%d lines with %s, want %d", n, want, times)
		}
	}
}

// TestAuditWarns: somebody hears of losses while they happen, and not of each.
func TestAuditWarns(t *testing.T) {
	var told []string
	a := NewAudit(failing{}, "guest", func(text string) { told = append(told, text) })
	for range 9 {
		a.Hit(Record{})
	}
	if err := a.Close(time.Minute); err == nil {
		t.Error("the error is not told of")
	}
	if len(told) != 4 || !strings.Contains(told[0], "lost, 1 so far: disk full") || !strings.Contains(told[3], "lost, 8 so far") {
		t.Errorf("told %q", told)
	}
	r, w := io.Pipe()
	defer r.Close()
	warned := make(chan string, 20)
	a = NewAudit(w, "guest", func(text string) { warned <- text })
	for range queued + 3 { // one that is being written, and two for which there is no room
		a.Hit(Record{})
	}
	if got := <-warned; !strings.Contains(got, "lost, 1 so far: they come faster") {
		t.Errorf("told %q", got)
	}
}

func TestAuditClose(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	a := NewAudit(w, "guest", func(string) {})
	a.Hit(Record{})
	if err := a.Close(time.Millisecond); err == nil {
		t.Error("a record that was not written is not told of")
	}
	a.Hit(Record{}) // must not panic
}

func TestAuditError(t *testing.T) {
	a := NewAudit(failing{}, "guest", func(string) {})
	a.Hit(Record{})
	if err := a.Close(time.Minute); err == nil || a.Lost() != 2 {
		t.Errorf("%v, %d lost, want the record and the summary", err, a.Lost())
	}
}

// TestAuditRecovers: what a full disk has cost is lost and told of, and nothing more.
func TestAuditRecovers(t *testing.T) {
	w := &failsOnce{at: 2}
	a := NewAudit(w, "guest", func(string) {})
	for range 5 {
		a.Hit(Record{Hook: "h"})
	}
	if err := a.Close(time.Minute); err == nil {
		t.Error("the error is not told of")
	}
	var hits, lost int
	for line := range strings.Lines(w.String()) {
		if json.Valid([]byte(line)) {
			hits += strings.Count(line, `"type":"hit"`)
			lost += strings.Count(line, "1 records were lost so far")
		} else if line != "{\n" {
			t.Errorf("line %q", line)
		}
	}
	if hits != 4 || lost != 1 || a.Lost() != 1 {
		t.Errorf("%d lines, %d lost, told %d times:\n%s", hits, a.Lost(), lost, w)
	}
}

// failsOnce writes one byte the at-th time.
type failsOnce struct {
	bytes.Buffer
	n, at int
}

func (f *failsOnce) Write(b []byte) (int, error) {
	if f.n++; f.n == f.at {
		f.Buffer.Write(b[:1])
		return 1, errors.New("disk full")
	}
	return f.Buffer.Write(b)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// TestAuditLine holds the names of the fields, which programs read.
func TestAuditLine(t *testing.T) {
	var out bytes.Buffer
	a := NewAudit(&out, "web1", func(string) {})
	a.Hit(Record{Hook: "integrity_digsig_verify", Func: "BPRM_CHECK", Path: "/bin/\x1b\xff", Digest: "00", Key: "01020304", Verdict: Deny, Reason: "r"})
	a.Hit(Record{Verdict: Jump})
	a.Note("event", "t")
	if err := a.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(out.Bytes(), "\x1b\xff") || bytes.Count(out.Bytes(), []byte("\n")) != 3 {
		t.Errorf("%q", out.Bytes())
	}
	for _, want := range []map[string]any{
		{
			"type": "hit", "hook": "integrity_digsig_verify", "func": "BPRM_CHECK",
			"digest": "00", "key": "01020304", "verdict": "deny", "reason": "r", "vcpu": 0.0,
		},
		{"type": "event", "text": "t"},
		{"type": "summary", "hits": 2.0, "allowed": 0.0, "denied": 1.0, "passed": 0.0, "user_jumps": 1.0, "lost": 0.0},
	} {
		text, err := out.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		want["guest"] = "web1"
		for field, value := range want {
			if m[field] != value {
				t.Errorf("%s is %v, want %v", field, m[field], value)
			}
		}
		if m["time"] == nil {
			t.Errorf("no time: %s", text)
		}
	}
}
