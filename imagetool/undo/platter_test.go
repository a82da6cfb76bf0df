package undo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
)

// An event is one thing that happened to a platter or to its log, in order: the
// write of a sector, a sync, or the log that came or went.
type event struct {
	kind eventKind
	off  int64
	data []byte
}

type eventKind int

const (
	eventWrite eventKind = iota
	eventSync
	eventLog   // the log is there, for good
	eventNoLog // it is gone, for good
)

// A platter is a disk in memory, with the undo log beside it. It notes what happens
// and fails when it is told to.
type platter struct {
	data   []byte
	log    []byte // nil for none
	events []event

	// fault, if there is one, is asked before each operation.
	fault func() error
}

func (p *platter) ask() error {
	if p.fault == nil {
		return nil
	}
	return p.fault()
}

func (p *platter) ReadAt(b []byte, off int64) (int, error) {
	if err := p.ask(); err != nil {
		return 0, err
	}
	return bytes.NewReader(p.data).ReadAt(b, off)
}

// WriteAt that fails has written half.
func (p *platter) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off%sectorSize != 0 || len(b)%sectorSize != 0 || off+int64(len(b)) > int64(len(p.data)) {
		return 0, fmt.Errorf("write of %d bytes at %d", len(b), off)
	}
	err := p.ask()
	if err != nil {
		b = b[:len(b)/2/sectorSize*sectorSize]
	}
	for at := 0; at < len(b); at += sectorSize {
		p.events = append(p.events, event{eventWrite, off + int64(at), bytes.Clone(b[at:][:sectorSize])})
	}
	return copy(p.data[off:], b), err
}

func (p *platter) Sync() error {
	p.events = append(p.events, event{kind: eventSync})
	return p.ask()
}

func (p *platter) Forget() error { return nil }

// section is a part of a platter as a device of its own.
type section struct {
	*platter
	start, size int64
}

func (s section) ReadAt(b []byte, off int64) (int, error) {
	return io.NewSectionReader(s.platter, s.start, s.size).ReadAt(b, off)
}

func (s section) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > s.size {
		return 0, errors.New("write behind the end of the section")
	}
	return s.platter.WriteAt(b, s.start+off)
}

// platterLog is the log of a platter.
type platterLog struct{ p *platter }

func (l platterLog) Path() string { return "the log" }

func (l platterLog) Create(write func(io.Writer) error) error {
	if l.p.log != nil {
		return os.ErrExist
	}
	var b bytes.Buffer
	if err := write(&failingWriter{&b, l.p}); err != nil {
		return err
	}
	if err := l.p.ask(); err != nil {
		return err
	}
	l.p.log = b.Bytes()
	l.p.events = append(l.p.events, event{kind: eventLog, data: l.p.log})
	return nil
}

type failingWriter struct {
	io.Writer
	p *platter
}

func (w *failingWriter) Write(b []byte) (int, error) {
	if err := w.p.ask(); err != nil {
		return 0, err
	}
	return w.Writer.Write(b)
}

type logReader struct {
	*bytes.Reader
	p *platter
}

func (r logReader) ReadAt(b []byte, off int64) (int, error) {
	if err := r.p.ask(); err != nil {
		return 0, err
	}
	return r.Reader.ReadAt(b, off)
}

func (logReader) Close() error { return nil }

func (l platterLog) Open() (File, int64, error) {
	if err := l.p.ask(); err != nil {
		return nil, 0, err
	}
	if l.p.log == nil {
		return nil, 0, os.ErrNotExist
	}
	return logReader{bytes.NewReader(l.p.log), l.p}, int64(len(l.p.log)), nil
}

func (l platterLog) Remove() error {
	if err := l.p.ask(); err != nil {
		return err
	}
	l.p.log = nil
	l.p.events = append(l.p.events, event{kind: eventNoLog})
	return nil
}

// recover is what imagetool recover does.
func (p *platter) recover() error {
	if _, err := Recover(platterLog{p}, p, int64(len(p.data))); err != nil {
		return err
	}
	return platterLog{p}.Remove()
}

// A wreck is what may be found when the power has gone.
type wreck struct {
	data  []byte
	log   bool // the log is there
	where string
}

// wrecks calls f, which may not keep it, with what may be left at each moment of the events: all that was
// written by then; and of what was not yet synced, the sectors of any set, of which
// it tries some. Within one step no sector is written twice, so that the order in
// which the disk wrote them cannot show.
func wrecks(before []byte, logged bool, events []event, rnd *rand.Rand, f func(wreck)) {
	durable, scratch := bytes.Clone(before), make([]byte, len(before))
	var pending []event
	state := bytes.Clone(before)
	for i := 0; ; i++ {
		f(wreck{state, logged, fmt.Sprintf("after %d of %d events", i, len(events))})
		if n := len(pending); n > 0 {
			copy(scratch, durable)
			keep := rnd.Float64()
			for _, e := range pending {
				if rnd.Float64() < keep {
					copy(scratch[e.off:], e.data)
				}
			}
			f(wreck{scratch, logged, fmt.Sprintf("after %d of %d events, %d sectors not synced", i, len(events), n)})
			copy(scratch, state)
			gone := pending[rnd.IntN(n)].off
			copy(scratch[gone:], durable[gone:][:sectorSize])
			f(wreck{scratch, logged, fmt.Sprintf("after %d of %d events, the sector at %d lost", i, len(events), gone)})
		}
		if i == len(events) {
			return
		}
		switch e := events[i]; e.kind {
		case eventWrite:
			if slices.ContainsFunc(pending, func(p event) bool { return p.off == e.off }) {
				panic(fmt.Sprintf("the sector at %d is written twice in one step", e.off))
			}
			pending = append(pending, e)
			copy(state[e.off:], e.data)
		case eventSync:
			for _, e := range pending {
				copy(durable[e.off:], e.data)
			}
			pending = nil
		case eventLog:
			logged = true
		case eventNoLog:
			// An unlink that is not yet durable may still be undone.
			f(wreck{state, true, "before the log is gone for good"})
			logged = false
		}
	}
}

var _ Device = (*platter)(nil)
