package signer

import "sync"

// Phase is a stretch of a run.
type Phase string

const (
	PhaseCopy   Phase = "copy"   // copying what is to be signed; has bytes, no files
	PhaseList   Phase = "list"   // finding the files
	PhaseSign   Phase = "sign"   // reading, signing, setting labels
	PhaseVerify Phase = "verify" // reading and verifying
	PhaseCommit Phase = "commit" // making labels durable
)

// Progress is how far a run has come. The totals are known from the end of
// PhaseList on; skipped files do not count.
type Progress struct {
	Phase      Phase
	Files      int // done with
	TotalFiles int
	Bytes      int64 // read
	TotalBytes int64
}

// meter serializes calls of a progress callback.
type meter struct {
	mu   sync.Mutex
	now  Progress
	call func(Progress)
}

func (m *meter) start(p Phase, files int, bytes int64) {
	m.update(func(now *Progress) {
		*now = Progress{Phase: p, TotalFiles: files, TotalBytes: bytes}
	})
}

func (m *meter) enter(p Phase) { m.update(func(now *Progress) { now.Phase = p }) }
func (m *meter) file()         { m.update(func(now *Progress) { now.Files++ }) }
func (m *meter) bytes(n int)   { m.update(func(now *Progress) { now.Bytes += int64(n) }) }
func (m *meter) enabled() bool { return m.call != nil }

func (m *meter) update(change func(*Progress)) {
	if !m.enabled() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.now)
	m.call(m.now)
}
