package container

import (
	"github.com/vmseal/vmseal/imagetool/block"
)

// readVDI reads VdiHeader of QEMU's block/vdi.c.
func readVDI(dev block.Device) (*Header, error) {
	b, err := bytesAt(dev, 0, 512)
	if err != nil {
		return nil, err
	}
	h := &Header{Size: int64(le.Uint64(b[368:]))}
	switch typ := le.Uint32(b[76:]); {
	case le.Uint32(b[68:]) != 0x00010001:
		// Needed: QEMU refuses it, too.
		return nil, refuse("", "version %#x is none that is known", le.Uint32(b[68:]))
	case !block.AllZero(b[424:456]), typ == 3, typ == 4: // uuid_link, uuid_parent
		// Needed: what it has not lies in a file that nobody named.
		return nil, refuse("merge it with its parent in VirtualBox first", "it is a differencing disk, which is nothing without its parent")
	case typ == 1: // VDI_TYPE_DYNAMIC
		h.Sub = "dynamic"
	case typ == 2: // VDI_TYPE_STATIC
		h.Sub = "static"
	default:
		// Needed: nobody knows what it means.
		return nil, refuse("", "type %d is none that is known", typ)
	}
	return h, nil
}
