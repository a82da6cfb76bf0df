package initrd

import (
	"bytes"
	"compress/gzip"
	"fmt"
)

const (
	align   = 4 // of names and contents, and of what comes behind the archive
	trailer = "TRAILER!!!"
)

// archive is cpio in the making. Everything in it belongs to root and is of 1970.
type archive struct {
	buf   bytes.Buffer
	files int
}

// add appends a file. The mode is st_mode.
func (a *archive) add(name string, mode uint32, contents string) {
	links := 1
	if mode&dir == dir {
		links = 2
	}
	a.entry(a.files, mode, links, name, contents)
	a.files++
}

func (a *archive) entry(inode int, mode uint32, links int, name, contents string) {
	const owner, group, mtime, device, checksum = 0, 0, 0, 0, 0
	fmt.Fprintf(&a.buf, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		inode, mode, owner, group, links, mtime, len(contents), device, device, device, device, len(name)+1, checksum)
	a.buf.WriteString(name + "\x00")
	pad(&a.buf)
	a.buf.WriteString(contents)
	pad(&a.buf)
}

// gzip ends the archive and wraps it.
func (a *archive) gzip() []byte {
	a.entry(0, 0, 1, trailer, "")
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	if err != nil {
		panic(err) // the level is one of gzip's own
	}
	z.Write(a.buf.Bytes()) // into memory, as Close: no errors
	z.Close()
	pad(&out) // where another initrd is appended, it may want that
	return out.Bytes()
}

func pad(b *bytes.Buffer) {
	for b.Len()%align != 0 {
		b.WriteByte(0)
	}
}
