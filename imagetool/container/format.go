package container

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/disk"
)

// A Format is what QEMU calls the format of an image.
type Format string

// The formats that can be opened.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	VMDK  Format = "vmdk"
	VPC   Format = "vpc" // VHD
	VHDX  Format = "vhdx"
	VDI   Format = "vdi"
)

// Formats are all of them.
var Formats = []Format{Raw, QCOW2, VMDK, VPC, VHDX, VDI}

// ParseFormat reads what a person says; "" stands for nothing.
func ParseFormat(name string) (Format, error) {
	if name == "vhd" {
		return VPC, nil
	}
	if f := Format(name); name == "" || slices.Contains(Formats, f) {
		return f, nil
	}
	return "", fmt.Errorf("%q is none of raw, qcow2, vmdk, vpc, vhdx and vdi", name)
}

// byName is what the name of a file says; "" for nothing. Images called .img are raw as
// often as they are qcow2.
func byName(path string) Format {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".raw", ".dd":
		return Raw
	case ".qcow2", ".qcow":
		return QCOW2
	case ".vmdk":
		return VMDK
	case ".vhd", ".vpc":
		return VPC
	case ".vhdx":
		return VHDX
	case ".vdi":
		return VDI
	}
	return ""
}

// NameFits reports whether a file of this name is taken for what it is without --format.
func NameFits(path string, f Format) bool {
	named := byName(path)
	return named == f || named == "" && f == Raw
}

// A magic is one spelling of a signature. A negative offset counts from the end.
type magic struct {
	format Format
	at     int64
	want   string
}

var magics = []magic{
	{QCOW2, 0, "QFI\xfb"},              // QCOW_MAGIC
	{VMDK, 0, "KDMV"},                  // VMDK4_MAGIC
	{VMDK, 0, "COWD"},                  // VMDK3_MAGIC
	{VMDK, 0, "# Disk DescriptorFile"}, // its text descriptor
	{VPC, 0, "conectix"},               // copy of the footer of a dynamic disk
	{VHDX, 0, "vhdxfile"},              // VHDX_FILE_SIGNATURE
	{VDI, 64, "\x7f\x10\xda\xbe"},      // VDI_SIGNATURE
	{VPC, -footerSize, "conectix"},     // footer, the only one of a fixed disk
}

// byMagic lists the formats whose signature a file has.
func byMagic(dev block.Device) (found []Format, err error) {
	for _, m := range magics {
		at := m.at
		if at < 0 {
			at += dev.Size()
		}
		if at < 0 || at+int64(len(m.want)) > dev.Size() || slices.Contains(found, m.format) {
			continue
		}
		b := make([]byte, len(m.want))
		if _, err := dev.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if string(b) == m.want {
			found = append(found, m.format)
		}
	}
	return found, nil
}

// identify tells the format of a file from what a person says, or else from its name and
// its magic number, which have to agree.
func identify(dev block.Device, said Format) (Format, error) {
	found, err := byMagic(dev)
	if err != nil {
		return "", fmt.Errorf("looking for the header of a container: %w", err)
	}
	named := byName(dev.Name())
	switch {
	case said == Raw:
		return Raw, nil
	case said != "" && !slices.Contains(found, said):
		// Needed: what was said is not so.
		return "", refuse("without --format it is taken for what its name and its header say",
			"--format says %s, and it has %s", said, headerOf(found))
	case said != "":
		return said, nil
	case len(found) == 0 && (named == "" || named == Raw):
		return Raw, nil
	case slices.Contains(found, named):
		return named, nil
	case named == "":
		// Needed: it may be raw, and its guest have written that.
		return "", refuse(hintFormat, "it has %s, and its name does not say so: a guest can write such a header into a raw disk", headerOf(found))
	}
	// Needed: one of the two is wrong.
	return "", refuse(hintFormat, "its name says %s, and it has %s", named, headerOf(found))
}

const hintFormat = "say what it is: --format raw, or --format with the name of the container"

func headerOf(found []Format) string {
	if len(found) == 0 {
		return "the header of no container"
	}
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = string(f)
	}
	return "the header of " + strings.Join(names, " and of ")
}

// refuse says why an image is not used, and what a person can do about it.
func refuse(hint, format string, args ...any) error {
	return &disk.RefusedError{Reason: fmt.Sprintf(format, args...), Hint: hint}
}
