package archive

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/formats/ima"
)

// own reads the member's own header, and applies what those before it have said.
func (r *Reader) own(m *Member, b block, long longNames) error {
	m.kind = b.typeflag()
	m.Name, m.Link = b.fullName(), string(b.linkname())
	if long.name != nil {
		m.Name = *long.name
	}
	if long.link != nil {
		m.Link = *long.link
	}
	if err := m.numbers(b); err != nil {
		return err
	}
	if err := m.applyRecords(); err != nil {
		return err
	}
	m.Size = m.Stored
	// Where a sparse member of GNU tar has its map and its size, libarchive looks in any member.
	if m.kind != typeSparse && b.magic() == gnuMagic && !isZero(b[386:495]) {
		return refuse(hintAgain, "it is no sparse file, but has the fields of one")
	}
	if m.kind == typeSparse {
		if err := r.oldSparse(m, b); err != nil {
			return err
		}
	} else if err := m.paxSparse(); err != nil {
		return err
	}
	if m.sparse && m.kind != typeSparse && b.magic() != ustarMagic {
		return refuse(hintAgain, "it is a sparse file of pax, but its header is not")
	}
	if m.sparse && !m.mapped {
		if err := m.holes.check(m.Size, m.Stored); err != nil {
			return err
		}
	}
	m.label, m.evm = find(m.records, ima.XattrName), find(m.records, evmName)
	return m.check()
}

// numbers reads what has a place in every header.
func (m *Member) numbers(b block) error {
	for _, f := range []struct {
		what  string
		field []byte
		set   func(int64)
	}{
		{"size", b.size(), func(n int64) { m.Stored = n }},
		{"mode", b.mode(), func(n int64) { m.Mode = uint32(n) }},
		{"user", b.uid(), func(n int64) { m.UID = uint32(n) }},
		{"group", b.gid(), func(n int64) { m.GID = uint32(n) }},
	} {
		n, err := number(f.field)
		if err != nil {
			return fmt.Errorf("%s: %w", f.what, err)
		}
		f.set(n)
	}
	return nil
}

// applyRecords takes what an extended header says in place of the member's own. The last
// record of a key counts.
func (m *Member) applyRecords() error {
	for _, r := range m.records {
		value, err := string(r.value), error(nil)
		var n int64
		switch r.key {
		case "path":
			m.Name = value
		case "linkpath":
			m.Link = value
		case "size":
			m.Stored, err = decimal(value)
		case "uid":
			n, err = decimal(value)
			m.UID = uint32(n)
		case "gid":
			n, err = decimal(value)
			m.GID = uint32(n)
		case "SCHILY.realsize":
			return refuse(hintAgain, "it is a sparse file of star, which other readers do not unpack")
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", r.key, err)
		}
		if strings.ContainsRune(m.Name, 0) || strings.ContainsRune(m.Link, 0) {
			return errors.New("its name has a zero byte")
		}
	}
	return nil
}

// check refuses what readers unpack in different ways.
func (m *Member) check() error {
	switch m.kind {
	case typeOldFile, typeFile, typeCont, typeSparse, typeDumpDir, typeVolume:
	case typeLink, typeSymlink, typeChar, typeBlock, typeDir, typeFifo:
		if m.Stored > 0 {
			return refuse(hintAgain, "a member of type %q has a size, and readers do not agree whether data follow", m.kind)
		}
	case typeMulti:
		return refuse(hintVolume, "it is the rest of a file that begins in another volume")
	default:
		return refuse(hintAgain, "its type is %q, which some readers unpack as a regular file", m.kind)
	}
	if (m.kind == typeLink || m.kind == typeSymlink) && m.Link == "" {
		return refuse(hintAgain, "it is a link that leads to nothing, of which bsdtar makes a file")
	}
	if m.sparse && !m.IsFile() {
		return refuse(hintAgain, "a member of type %q has a map of holes", m.kind)
	}
	if m.Stored > maxStored || m.Size > maxStored {
		return fmt.Errorf("%d bytes are more than a file can have", max(m.Stored, m.Size))
	}
	return nil
}

// maxStored keeps sums of sizes from overflowing.
const maxStored = 1 << 62

// oldSparse reads GNU's own kind of sparse members: struct oldgnu_header, and as many of
// struct sparse_header as follow it.
func (r *Reader) oldSparse(m *Member, b block) error {
	if b.magic() != gnuMagic {
		return refuse(hintAgain, "it is a sparse file, but not one of GNU tar")
	}
	size, err := number(b[483:495]) // realsize
	if err != nil {
		return err
	}
	m.sparse, m.Size = true, size
	fields, more := b[386:482], b[482] // sp, isextended
	for {
		switch ended, err := m.holes.addFields(fields); {
		case err != nil:
			return err
		case more == 0:
			return nil
		case ended: // GNU tar goes on with the data here, and others with the map
			return errMap
		}
		if b, err = r.block(); err != nil {
			return errTruncated
		}
		if len(m.head) > maxHead {
			return fmt.Errorf("its map of holes has more than %d bytes", maxHead)
		}
		m.head = append(m.head, b...)
		fields, more = b[0:504], b[504] // sp, isextended
	}
}

// maxHead has room for a map of maxFragments and for the other headers.
const maxHead = (maxFragments/21+1)*BlockSize + 2*maxExtended

// paxSparse reads GNU's sparse members in pax archives. In 0.0 and 0.1 the map is in the
// records, in 1.0 it stands before the data.
func (m *Member) paxSparse() error {
	fields := map[string]string{}
	var list []string // of 0.0: as many records of each as there are fragments
	for _, r := range m.records {
		key, ok := strings.CutPrefix(r.key, "GNU.sparse.")
		if !ok {
			continue
		}
		m.sparse = true
		value := string(r.value)
		switch key {
		case "offset", "numbytes":
			if (key == "offset") != (len(list)%2 == 0) {
				return errMap
			}
			list = append(list, value)
		case "major", "minor", "name", "size", "realsize", "map", "numblocks":
			if _, twice := fields[key]; twice {
				return refuse(hintAgain, "it has the record %q twice", r.key)
			}
			fields[key] = value
		default:
			return refuse(hintAgain, "its record %q is not known", r.key)
		}
	}
	if !m.sparse {
		return nil
	}
	return m.applySparse(fields, list)
}

// applySparse takes what the records say. Each version of the format has its own.
func (m *Member) applySparse(fields map[string]string, list []string) (err error) {
	if name, ok := fields["name"]; ok {
		m.Name = name
	}
	size, other, version := "size", "realsize", fields["major"]+"."+fields["minor"]
	if version == "1.0" {
		size, other, m.mapped = other, size, true
	}
	if _, ok := fields[other]; ok {
		return refuse(hintAgain, "it has the record %q of another sparse format", "GNU.sparse."+other)
	}
	if m.Size, err = decimal(fields[size]); err != nil {
		return fmt.Errorf("size of a sparse file: %w", err)
	}
	text, hasMap := fields["map"]
	blocks, hasBlocks := fields["numblocks"]
	if hasMap && list == nil && text != "" {
		list = strings.Split(text, ",")
	} else if hasMap && list != nil {
		return refuse(hintAgain, "it has two maps of holes")
	}
	switch {
	case m.mapped && (list != nil || hasBlocks):
		return refuse(hintAgain, "it has two maps of holes")
	case m.mapped:
		return nil
	case version != "." && version != "0.0" && version != "0.1":
		return refuse(hintAgain, "its sparse format is %s", version)
	}
	if err := m.holes.addList(list); err != nil {
		return err
	}
	if n, err := decimal(blocks); err != nil || n != int64(len(m.holes)) {
		return errMap
	}
	return nil
}
