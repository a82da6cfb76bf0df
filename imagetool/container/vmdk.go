package container

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/vmseal/vmseal/imagetool/block"
)

const (
	vmdkSector        = 512
	vmdkMaxDescriptor = 20 * vmdkSector // as vmdk_open_desc_file of QEMU's block/vmdk.c
	vmdkHeaderSize    = 79              // of VMDK4Header with its magic
	vmdkCompressed    = 1 << 16         // VMDK4_FLAG_COMPRESS
)

const hintOneFile = "'qemu-img convert -O vmdk' puts all into one file"

// readVMDK reads VMDK4Header, and the descriptor in the same file.
func readVMDK(dev block.Device) (*Header, error) {
	b, err := bytesAt(dev, 0, vmdkHeaderSize)
	if err != nil {
		return nil, err
	}
	switch magic := string(b[:4]); magic {
	case "KDMV":
	case "COWD":
		// Needed: the format of old ESX servers keeps the descriptor in another file.
		return nil, refuse(hintOneFile, "this is an extent of an ESX server")
	default:
		return nil, vmdkDescriptorFile(dev)
	}
	capacity := le.Uint64(b[12:])
	if at, n := vmdkDescriptorPlace(b); capacity == 0 || capacity > 1<<53 || at == 0 || n == 0 || at > uint64(dev.Size()) {
		// Needed: QEMU would look for the disk in files that a descriptor names.
		return nil, refuse(hintOneFile, "it is only a part of a disk that lies in several files")
	}
	d, err := embeddedDescriptor(dev, b)
	if err != nil {
		return nil, err
	}
	if d.kind == "" {
		// Needed: the disk is more than this file.
		return nil, refuse(hintOneFile, "it has no descriptor: it is only a part of a disk that lies in several files")
	}
	h := &Header{Sub: d.kind, Size: int64(capacity * vmdkSector), Backing: d.parent}
	if d.kind != "monolithicSparse" && d.kind != "streamOptimized" || d.extents != 1 {
		// Needed: the others lie in several files.
		return nil, refuse(hintOneFile, "createType %q with %d extents is not a disk in one file", d.kind, d.extents)
	}
	switch {
	case le.Uint32(b[8:])&vmdkCompressed != 0:
		h.Convert = "its clusters are compressed, and QEMU cannot replace one"
	case le.Uint32(b[4:]) == 3:
		h.Convert = "it is of version 3, which QEMU can only read"
	}
	return h, nil
}

// vmdkDescriptorPlace is where the descriptor lies in the file.
func vmdkDescriptorPlace(header []byte) (at, n uint64) {
	at, n = le.Uint64(header[28:]), le.Uint64(header[36:])
	if at > 1<<53 || n > 1<<53 {
		return 0, 0
	}
	return at * vmdkSector, n * vmdkSector
}

func embeddedDescriptor(dev block.Device, header []byte) (descriptor, error) {
	at, n := vmdkDescriptorPlace(header)
	text, err := bytesAt(dev, int64(at), int(min(n, vmdkMaxDescriptor, uint64(dev.Size())-at)))
	return parseDescriptor(text), err
}

// descriptor reads that of a VMDK again.
func (c *Container) descriptor() (descriptor, error) {
	b, err := bytesAt(c.file, 0, vmdkHeaderSize)
	if err != nil {
		return descriptor{}, err
	}
	return embeddedDescriptor(c.file, b)
}

// vmdkDescriptorFile says what can be done with a descriptor whose disk lies elsewhere.
func vmdkDescriptorFile(dev block.Device) error {
	text, err := bytesAt(dev, 0, int(min(dev.Size(), vmdkMaxDescriptor)))
	if err != nil {
		return err
	}
	d := parseDescriptor(text)
	if d.kind == "monolithicFlat" {
		// Needed: the disk is a file that nobody named.
		return refuse("that file (*-flat.vmdk) is a raw image: sign it with --format raw",
			"this is only the descriptor (%s) of a disk that lies in another file", d.kind)
	}
	// Needed: the disk lies in files that nobody named.
	return refuse(hintOneFile, "this is only the descriptor (createType %q) of a disk that lies in other files", d.kind)
}

// A descriptor is what the text in a VMDK says.
type descriptor struct {
	kind    string
	parent  string
	extents int
	values  map[string]string // by their names
}

// vmdkExtent is a line such as: RW 4192256 SPARSE "disk.vmdk"
var vmdkExtent = regexp.MustCompile(`^\s*(RW|RDONLY|NOACCESS)\s+[0-9]+\s+[A-Z]+`)

func parseDescriptor(text []byte) descriptor {
	d := descriptor{values: map[string]string{}}
	text, _, _ = bytes.Cut(text, []byte{0})
	for line := range strings.Lines(strings.ToValidUTF8(string(text), "?")) {
		if vmdkExtent.MatchString(line) {
			d.extents++
		}
		key, value, _ := strings.Cut(line, "=")
		d.values[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"`)
		// As vmdk_parent_open, which looks for the word anywhere.
		if _, name, ok := strings.Cut(line, "parentFileNameHint"); ok && d.parent == "" {
			if d.parent = strings.Trim(strings.TrimSpace(name), `="`); d.parent == "" {
				d.parent = "?"
			}
		}
	}
	d.kind = d.values["createType"]
	return d
}
