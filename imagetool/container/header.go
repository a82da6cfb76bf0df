package container

import (
	"encoding/binary"
	"fmt"

	"github.com/vmseal/vmseal/imagetool/block"
)

var le, be = binary.LittleEndian, binary.BigEndian

// A Header is what the header of a container says.
type Header struct {
	Format  Format
	Sub     string // the kind of that format: "streamOptimized"
	Size    int64  // of the guest's disk
	Convert string // why it cannot be written to; "" if it can

	Signature int64 // where the sector begins that has the magic number

	Backing       string // the name of the file that has what this one has not; "" if there is none
	BackingFormat Format // of that file, if the header says it
}

// readHeader reads a header of a format, and refuses what cannot be opened safely.
func readHeader(dev block.Device, f Format) (*Header, error) {
	read := map[Format]func(block.Device) (*Header, error){
		QCOW2: readQCOW2, VMDK: readVMDK, VPC: readVPC, VHDX: readVHDX, VDI: readVDI,
	}[f]
	if read == nil {
		return &Header{Format: Raw, Size: dev.Size()}, nil
	}
	h, err := read(dev)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	if h.Format = f; h.Size < 0 {
		// Needed: it cannot be counted.
		return nil, refuse("", "%s: a disk of %d bytes is impossible", f, uint64(h.Size))
	}
	return h, nil
}

// bytesAt reads a part of a header.
func bytesAt(dev block.Device, off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if err := block.ReadFull(dev, b, off); err != nil {
		return nil, fmt.Errorf("reading %d bytes of its header at %d: %w", n, off, err)
	}
	return b, nil
}
