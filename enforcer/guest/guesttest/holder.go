package guesttest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/enforcer/guest"
)

// Holder is a Guest that Hold can stop before one of its events.
type Holder struct {
	*Guest
	Firmware bool // the kernel is not in memory yet
}

var _ guest.Guest = Holder{}

// Hold implements guest.Guest. It runs events up to and including the one that reaches the address.
func (h Holder) Hold(addr uint64, code []byte) error {
	if h.Firmware {
		return fmt.Errorf("a guest with firmware: %w", errors.ErrUnsupported)
	}
	there := make([]byte, len(code))
	if err := h.read(addr, there); err != nil || !bytes.Equal(there, code) {
		return fmt.Errorf("found % x at %#x, want % x (%v)", there, addr, code, err)
	}
	h.Traps = []uint64{addr}
	defer func() { h.Traps = nil }()
	_, err := h.Run(0)
	return err
}
