package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The header of a bzImage (Documentation/arch/x86/boot.rst).
const (
	hdrSetupSects    = 0x1f1 // 1 byte
	hdrMagic         = 0x202 // "HdrS"
	hdrVersion       = 0x206 // 2 bytes
	hdrPayloadOffset = 0x248 // 4 bytes, from the end of the setup code
	hdrPayloadLength = 0x24c // 4 bytes
	hdrEnd           = 0x250

	sectorSize        = 512
	defaultSetupSects = 4      // for a value of 0
	payloadVersion    = 0x0208 // since which the payload has fields
)

const elfMagic = "\x7fELF"

// HeadSize is how much of a file Recognize wants to see.
const HeadSize = hdrEnd

// Recognize tells by the first bytes whether a file is to be taken for a kernel.
func Recognize(head []byte) bool {
	return isBzImage(head) || bytes.HasPrefix(head, []byte(elfMagic))
}

func isBzImage(b []byte) bool {
	return len(b) >= hdrEnd && string(b[hdrMagic:hdrMagic+4]) == "HdrS"
}

// vmlinux gives the ELF file that a kernel file is or has in it.
func vmlinux(file []byte) ([]byte, error) {
	switch {
	case len(file) > MaxSize:
		return nil, fmt.Errorf("%d bytes: %w", len(file), ErrTooLarge)
	case bytes.HasPrefix(file, []byte(elfMagic)):
		return file, nil
	case !isBzImage(file):
		return nil, ErrNotKernel
	}
	p, err := payload(file)
	if err != nil {
		return nil, err
	}
	return decompress(p)
}

// payload cuts the compressed kernel out of a bzImage.
func payload(file []byte) ([]byte, error) {
	if v := binary.LittleEndian.Uint16(file[hdrVersion:]); v < payloadVersion {
		return nil, fmt.Errorf("boot protocol %d.%02d does not tell where the kernel lies", v>>8, v&0xff)
	}
	sects := uint64(file[hdrSetupSects])
	if sects == 0 {
		sects = defaultSetupSects
	}
	start := (sects+1)*sectorSize + uint64(binary.LittleEndian.Uint32(file[hdrPayloadOffset:]))
	end := start + uint64(binary.LittleEndian.Uint32(file[hdrPayloadLength:]))
	if end > uint64(len(file)) {
		return nil, fmt.Errorf("the kernel lies from %d to %d in a file of %d bytes", start, end, len(file))
	}
	return file[start:end], nil
}
