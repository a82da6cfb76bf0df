package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// An image is the ELF file of a kernel.
type image struct {
	file  []byte
	elf   *elf.File
	loads []*elf.Prog
}

func parseImage(file []byte) (*image, error) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotKernel, err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("%w: it is a %s of %s for %s", ErrNotKernel, f.Type, f.Class, f.Machine)
	}
	m := &image{file: file, elf: f}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			m.loads = append(m.loads, p)
		}
	}
	return m, nil
}

// section gives the bytes of a section; nil if there is none of that name.
func (m *image) section(name string) []byte {
	s := m.elf.Section(name)
	if s == nil || s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil
	}
	size := uint64(len(m.file))
	if s.Offset > size || s.FileSize > size-s.Offset {
		return nil
	}
	return m.file[s.Offset : s.Offset+s.FileSize]
}

// sectionAddr is where a section lies in memory; 0 if there is none of that name.
func (m *image) sectionAddr(name string) uint64 {
	if s := m.elf.Section(name); s != nil {
		return s.Addr
	}
	return 0
}

// at gives what lies at an address, up to the end of its segment.
func (m *image) at(addr uint64) ([]byte, error) {
	size := uint64(len(m.file))
	for _, p := range m.loads {
		if addr < p.Vaddr || addr-p.Vaddr >= p.Filesz || p.Off > size || p.Filesz > size-p.Off {
			continue
		}
		return m.file[p.Off+(addr-p.Vaddr) : p.Off+p.Filesz], nil
	}
	return nil, fmt.Errorf("nothing lies at address %#x", addr)
}

// read gives n bytes at an address.
func (m *image) read(addr uint64, n int) ([]byte, error) {
	b, err := m.at(addr)
	if err == nil && len(b) < n {
		err = fmt.Errorf("%d bytes lie at address %#x, want %d", len(b), addr, n)
	}
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// text gives the text at an address, without the NUL that ends it.
func (m *image) text(addr uint64, limit int) (string, error) {
	b, err := m.at(addr)
	if err != nil {
		return "", err
	}
	n := bytes.IndexByte(b[:min(len(b), limit+1)], 0)
	if n < 0 {
		return "", fmt.Errorf("the text at address %#x does not end within %d bytes", addr, limit)
	}
	return string(b[:n]), nil
}

const noteBuildID = 3 // NT_GNU_BUILD_ID

// buildID finds the build id among the notes: name size, data size and type in
// four bytes each, then name and data, each padded to four bytes (elf(5)).
func (m *image) buildID() ([]byte, error) {
	b := m.section(".notes")
	for len(b) >= 12 {
		names, data := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
		kind := binary.LittleEndian.Uint32(b[8:])
		at, end := 12+align(names, 4), 12+align(names, 4)+data
		if end > uint64(len(b)) {
			return nil, errors.New("section .notes: a note is longer than the section")
		}
		if kind == noteBuildID && string(b[12:12+names]) == "GNU\x00" {
			return b[at:end], nil
		}
		b = b[min(align(end, 4), uint64(len(b))):]
	}
	return nil, errors.New("no build id among the notes")
}

// align rounds up to a multiple of a power of two.
func align(n, to uint64) uint64 { return (n + to - 1) &^ (to - 1) }
