package fakekernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
)

// ELF writes the kernel as vmlinux.
func (k *Kernel) ELF() ([]byte, error) {
	types, err := encodeTypes(k.Types)
	if err != nil {
		return nil, err
	}
	return writeELF([]part{
		{".text", Text, k.Text},
		{".rodata", Rodata, append(pad(k.Rodata), k.Layout.Encode(k.Symbols, Rodata+uint64(len(pad(k.Rodata))))...)},
		{".data", Data, k.Data},
		{".tables", Tables, k.Tables},
		{".notes", 0, k.Notes},
		{".BTF", 0, types},
	})
}

// A part is a section, and a segment if it has an address.
type part struct {
	name string
	addr uint64
	data []byte
}

const (
	headerSize = 64
	progSize   = 56
	maxProgs   = 8
	bodyStart  = headerSize + maxProgs*progSize
)

// writeELF writes the parts that there are: headers, contents, sections.
func writeELF(parts []part) ([]byte, error) {
	var body, names []byte
	var progs []elf.Prog64
	sections := make([]elf.Section64, 1) // the first one is for nothing
	add := func(p part, kind elf.SectionType) {
		s := elf.Section64{
			Name: uint32(len(names)), Type: uint32(kind), Addr: p.addr, Off: bodyStart + uint64(len(body)), Size: uint64(len(p.data)),
		}
		if p.addr != 0 {
			progs = append(progs, elf.Prog64{Type: uint32(elf.PT_LOAD), Off: s.Off, Vaddr: p.addr, Filesz: s.Size, Memsz: s.Size})
		}
		sections = append(sections, s)
		names = append(append(names, p.name...), 0)
		body = append(body, p.data...)
	}
	for _, p := range parts {
		if p.data != nil {
			add(p, elf.SHT_PROGBITS)
		}
	}
	const strings = ".shstrtab"
	add(part{strings, 0, append(bytes.Clone(names), strings+"\x00"...)}, elf.SHT_STRTAB)

	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: headerSize,
		Phoff: headerSize, Phentsize: progSize, Phnum: uint16(len(progs)),
		Shoff: bodyStart + uint64(len(body)), Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)

	progs = append(progs, make([]elf.Prog64, maxProgs-len(progs))...)
	var out []byte
	for _, v := range []any{h, progs, body, sections} {
		var err error
		if out, err = binary.Append(out, binary.LittleEndian, v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// BzImage puts a compressed kernel behind a header, and something behind it.
func BzImage(payload []byte) []byte {
	const sects, offset = 3, 0x2c0
	b := make([]byte, (sects+1)*512+offset)
	b[0x1f1] = sects
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x020f)
	binary.LittleEndian.PutUint32(b[0x248:], offset)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(payload)))
	return append(append(b, payload...), "a signature, perhaps"...)
}

// BzImage writes the kernel as vmlinuz.
func (k *Kernel) BzImage() ([]byte, error) {
	vmlinux, err := k.ELF()
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(vmlinux); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return BzImage(packed.Bytes()), nil
}
