package enforce

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"
)

// stream keeps what it was given and lets others wait for what is in it: a guest's console, an enforcer's audit.
type stream struct {
	mu      sync.Mutex
	kept    []byte
	ended   bool
	changed chan struct{} // closed and replaced at each change
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

// follow takes in all that r gives.
func (s *stream) follow(r io.Reader) {
	io.Copy(s, r)
	s.change(func() { s.ended = true })
}

func (s *stream) Write(p []byte) (int, error) {
	s.change(func() { s.kept = append(s.kept, p...) })
	return len(p), nil
}

func (s *stream) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.kept)
}

// lines gives the whole lines so far.
func (s *stream) lines() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return wholeLines(s.kept)
}

// wholeLines leaves out a last line that has no end yet.
func wholeLines(b []byte) [][]byte {
	all := bytes.Split(b, []byte("\n"))
	return all[:len(all)-1]
}

// await waits until the pattern is in the stream.
func (s *stream) await(pattern string, limit time.Duration) bool {
	re := regexp.MustCompile(pattern)
	return s.until(limit, func(lines [][]byte) bool { return slices.ContainsFunc(lines, re.Match) })
}

// until waits for a condition on the whole lines. It gives up at the end of the stream and of the time.
func (s *stream) until(limit time.Duration, holds func(lines [][]byte) bool) bool {
	timeout := time.After(limit)
	for {
		s.mu.Lock()
		lines, ended, changed := wholeLines(s.kept), s.ended, s.changed
		s.mu.Unlock()
		if ok := holds(lines); ok || ended {
			return ok
		}
		select {
		case <-changed:
		case <-timeout:
			return false
		}
	}
}
