package container

import (
	"bytes"

	"github.com/vmseal/vmseal/imagetool/block"
)

const footerSize = 512 // of a VHD, with which it ends

// Types in VHDFooter of QEMU's block/vpc.c.
const (
	vpcFixed        = 2 // VHD_FIXED
	vpcDynamic      = 3 // VHD_DYNAMIC
	vpcDifferencing = 4 // VHD_DIFFERENCING
)

// readVPC reads VHDFooter. As QEMU, it takes the copy at the beginning first.
func readVPC(dev block.Device) (*Header, error) {
	b, err := bytesAt(dev, 0, footerSize)
	if err != nil {
		return nil, err
	}
	atStart := bytes.HasPrefix(b, []byte("conectix"))
	if !atStart {
		if b, err = bytesAt(dev, dev.Size()-footerSize, footerSize); err != nil {
			return nil, err
		}
	}
	h := &Header{Size: int64(be.Uint64(b[48:]))}
	switch typ := be.Uint32(b[60:]); {
	case typ == vpcFixed && !atStart:
		h.Sub, h.Signature = "fixed", dev.Size()-footerSize
	case typ == vpcDynamic && atStart:
		h.Sub = "dynamic"
	case typ == vpcDifferencing:
		// Needed: QEMU takes no notice of the parent, and reads zeros in its place.
		return nil, refuse("merge it with its parent in Hyper-V or VirtualBox first", "it is a differencing disk, which is nothing without its parent")
	default:
		// Needed: QEMU refuses it, too.
		return nil, refuse("", "a footer of type %d is out of place", typ)
	}
	if !vpcChecksum(b) {
		// Needed: QEMU refuses it, too.
		return nil, refuse("", "its footer does not have the checksum that it should")
	}
	return h, nil
}

// vpcChecksum is the complement of the sum of all bytes but its own four.
func vpcChecksum(footer []byte) bool {
	sum := uint32(0)
	for i, c := range footer {
		if i < 64 || i >= 68 {
			sum += uint32(c)
		}
	}
	return be.Uint32(footer[64:]) == ^sum
}
