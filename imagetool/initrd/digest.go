package initrd

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxSize is where boot loaders have to put an initrd below (initrd_addr_max,
// Documentation/arch/x86/boot.rst).
const maxSize = 1 << 31

// magics are what the kernel takes an initrd for: an archive, or one that is compressed
// in one of the ways in lib/decompress.c.
var magics = []string{
	"070701", "070702", // cpio, without checksums and with them
	"\x1f\x8b", "\x1f\x9e", "BZh", "\x5d\x00", "\xfd7zXZ\x00", "\x89LZO", "\x02\x21\x4c\x18", "\x28\xb5\x2f\xfd",
}

// Digest gives the SHA-256 of an initrd.
func Digest(r io.Reader) ([]byte, error) {
	in := bufio.NewReader(io.LimitReader(r, maxSize+1))
	head, err := in.Peek(len("070701"))
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !slices.ContainsFunc(magics, func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }) {
		return nil, errors.New("not an initrd: neither a cpio archive nor a compressed one")
	}
	h := sha256.New()
	n, err := io.Copy(h, in)
	switch {
	case err != nil:
		return nil, err
	case n > maxSize:
		return nil, fmt.Errorf("not an initrd: more than %d bytes", maxSize)
	}
	return h.Sum(nil), nil
}
