package initrd

import (
	"errors"
	"fmt"
	"io"
)

// Join writes an initrd with an overlay behind it. Archives begin at multiples of four bytes (unpack_to_rootfs,
// init/initramfs.c); the four zero bytes more end one that is compressed with lz4.
func Join(w io.Writer, initrd io.Reader, overlay []byte) error {
	n, err := io.Copy(w, io.LimitReader(initrd, maxSize+1))
	if err == nil && n > maxSize {
		err = fmt.Errorf("not an initrd: more than %d bytes", maxSize)
	}
	if err != nil {
		return err
	}
	_, padded := w.Write(make([]byte, 4+(4-n%4)%4))
	_, appended := w.Write(overlay)
	return errors.Join(padded, appended)
}
