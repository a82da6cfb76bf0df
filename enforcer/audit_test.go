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

// TestAuditNeverBlocks: if the writer hangs, records are lost, counted and reported, and nobody
// waits.
func TestAuditNeverBlocks(t *testing.T) {
	r, w := io.Pipe()
	a := NewAudit(w, "guest", func(string) {})
	for range 2 * queueSize {
		a.Hit(Record{Hook: "h"}) // would block forever
	}
	if n := a.Lost(); n < queueSize-2 || n > queueSize {
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
	if uint64(hits)+lost != 2*queueSize {
		t.Errorf("%d written, %d lost", hits, lost)
	}
	if text := strings.Join(all, "\n"); !strings.Contains(text, `"type":"lost"`) {
		t.Error("the loss was not reported")
	}
}

// TestAuditFlood: denials, freezes and notes are not lost behind any number of other records, once
// the writer continues.
func TestAuditFlood(t *testing.T) {
	r, w := io.Pipe()
	a := NewAudit(w, "guest", func(string) {})
	a.wait = time.Minute
	for range 2 * queueSize {
		a.Hit(Record{Verdict: Allow})
	}
	added := make(chan struct{})
	go func() {
		defer close(added)
		for range 2 * queueSize { // more than fit at once
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
		`"verdict":"deny"`: 2 * queueSize, `"verdict":"freeze"`: 1, `"type":"reload"`: 1, `"type":"frozen"`: 1, `"type":"summary"`: 1,
	} {
		if n := strings.Count(all, want); n != times {
			t.Errorf("%d lines with %s, want %d", n, want, times)
		}
	}
}

// TestAuditWarns: losses are reported while they happen, but not each of them.
func TestAuditWarns(t *testing.T) {
	var warnings []string
	a := NewAudit(failing{}, "guest", func(text string) { warnings = append(warnings, text) })
	for range 9 {
		a.Hit(Record{})
	}
	if err := a.Close(time.Minute); err == nil {
		t.Error("the error is not reported")
	}
	if len(warnings) != 4 || !strings.Contains(warnings[0], "lost, 1 so far: disk full") || !strings.Contains(warnings[3], "lost, 8 so far") {
		t.Errorf("warnings %q", warnings)
	}
	r, w := io.Pipe()
	defer r.Close()
	warned := make(chan string, 20)
	a = NewAudit(w, "guest", func(text string) { warned <- text })
	for range queueSize + 3 { // one that is being written, and two that do not fit
		a.Hit(Record{})
	}
	if got := <-warned; !strings.Contains(got, "lost, 1 so far: they arrive faster") {
		t.Errorf("warning %q", got)
	}
}

func TestAuditClose(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	a := NewAudit(w, "guest", func(string) {})
	a.Hit(Record{})
	if err := a.Close(time.Millisecond); err == nil {
		t.Error("a record that was not written is not reported")
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

// TestAuditRecovers: a full disk costs the records that did not fit, and those are reported.
func TestAuditRecovers(t *testing.T) {
	w := &failsOnce{at: 2}
	a := NewAudit(w, "guest", func(string) {})
	for range 5 {
		a.Hit(Record{Hook: "h"})
	}
	if err := a.Close(time.Minute); err == nil {
		t.Error("the error is not reported")
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
		t.Errorf("%d lines, %d lost, reported %d times:\n%s", hits, a.Lost(), lost, w)
	}
}

// failsOnce fails at the at-th write, after one byte.
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

// TestAuditLine checks the field names that programs depend on.
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
