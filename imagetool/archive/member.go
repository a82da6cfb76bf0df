package archive

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/vmseal/vmseal/formats/ima"
)

// A Member is one member of an archive, with all that stands before its data.
type Member struct {
	Offset int64  // where it begins in the archive
	Name   string // as it is stored
	Link   string // what a link leads to, as it is stored
	Size   int64  // of its contents, holes included
	Stored int64  // bytes of data in the archive, without what pads the last block
	Mode   uint32 // permission bits
	UID    uint32
	GID    uint32

	head    []byte   // all of its header blocks, as they are
	main    int      // where in head its own begins
	pax     int      // where its extended header begins; -1 if there is none
	records []record // of that
	kind    byte
	holes   sparseMap // of a sparse member whose map is in the headers
	sparse  bool
	mapped  bool // the map stands before the data
	label   attribute
	evm     attribute
}

// Path is the name from the root of what is unpacked: "/etc/passwd".
func (m *Member) Path() string { return clean(m.Name) }

// Target is the path of what a hard link leads to.
func (m *Member) Target() string { return clean(m.Link) }

func clean(name string) string { return path.Clean("/" + name) }

// IsFile reports whether a regular file is made of the member. By a name that ends in a
// slash, old archives mean a folder.
func (m *Member) IsFile() bool {
	switch m.kind {
	case typeOldFile, typeFile, typeCont:
		return m.sparse || !strings.HasSuffix(m.Name, "/")
	case typeSparse:
		return true
	}
	return false
}

// IsHardLink reports whether the member is another name of a file that came before it.
func (m *Member) IsHardLink() bool { return m.kind == typeLink }

// StatMode is st_mode of a regular file with the member's permissions.
func (m *Member) StatMode() uint32 { return syscall.S_IFREG | m.Mode&0o7777 }

// Label is the value of security.ima, nil if there is none. It is an error if readers of
// the two kinds of records find different ones.
func (m *Member) Label() ([]byte, error) {
	if !m.label.agrees() {
		return nil, fmt.Errorf("its %s and %s records for %s differ: which of them counts depends on who unpacks it",
			strings.TrimSuffix(schily, "."), strings.TrimSuffix(libarchive, "."), ima.XattrName)
	}
	return m.Plain(), nil
}

// Plain is the value that all readers but libarchive find; nil for none.
func (m *Member) Plain() []byte {
	if len(m.label.plain) == 0 { // pax takes an empty value for none
		return nil
	}
	return m.label.plain
}

// Agrees reports whether libarchive finds the same.
func (m *Member) Agrees() bool { return m.label.agrees() }

// HasEVM reports whether there is a security.evm value, which covers security.ima.
func (m *Member) HasEVM() bool { return m.evm.hasPlain || m.evm.hasEncoded }

// Head is what stands before the data, as it is.
func (m *Member) Head() []byte { return m.head }

// Labelled is Head with another value of security.ima. An extended header that was not there
// goes before GNU's long names, which tar2sqfs 1.2 forgets if it comes behind them.
func (m *Member) Labelled(value []byte, dropEVM bool) ([]byte, error) {
	var data []byte
	for _, r := range labelled(m.records, value, dropEVM) {
		data = append(data, r.raw...)
	}
	if len(data) > maxExtended {
		return nil, fmt.Errorf("with a value its extended header has %d bytes, more than %d", len(data), maxExtended)
	}
	header, at, rest := m.newExtended(), 0, 0
	if m.pax >= 0 {
		header = block(slices.Clone(m.head[m.pax : m.pax+BlockSize]))
		at, rest = m.pax, m.pax+BlockSize+int(padded(m.extended()))
	}
	header.setSize(len(data))
	header.seal()
	out := slices.Concat(m.head[:at], header, data, make([]byte, padding(int64(len(data)))), m.head[rest:])
	return out, nil
}

// extended is the size of the member's extended header.
func (m *Member) extended() (n int64) {
	for _, r := range m.records {
		n += int64(len(r.raw))
	}
	return n
}

// newExtended makes the header of an extended header, as pax(1) has it: what does not know
// the type unpacks a file of that name.
func (m *Member) newExtended() block {
	b := make(block, BlockSize)
	copy(b[:100], "PaxHeaders/"+path.Base(m.Path()))
	copy(b.mode(), "0000644\x00")
	copy(b.uid(), "0000000\x00")
	copy(b.gid(), "0000000\x00")
	copy(b.mtime(), block(m.head[m.main:]).mtime())
	b[156] = typePax
	copy(b[257:], ustarMagic)
	return b
}

// Contents gives what is in the file, of the data of the member.
func (m *Member) Contents(data io.Reader) (io.Reader, error) {
	if !m.sparse {
		return io.LimitReader(data, m.Stored), nil
	}
	holes, stored := m.holes, m.Stored
	if m.mapped {
		r := bufio.NewReader(io.LimitReader(data, m.Stored))
		var length int64
		var err error
		if holes, length, err = readMap(r); err != nil {
			return nil, err
		}
		data, stored = r, stored-length
		if err := holes.check(m.Size, stored); err != nil {
			return nil, err
		}
	}
	return &expanded{data: data, m: holes, size: m.Size}, nil
}
