package container

import (
	"hash/crc32"

	"github.com/vmseal/vmseal/imagetool/block"
)

// Places in a VHDX, and lengths (MS-VHDX 2.1, 2.2).
const (
	vhdxHeader1     = 64 << 10
	vhdxHeader2     = 128 << 10
	vhdxHeaderSize  = 4 << 10
	vhdxRegions     = 192 << 10
	vhdxRegionsSize = 64 << 10
	vhdxMaxEntries  = 2047
)

// GUIDs as they lie in the file.
const (
	vhdxMetadataRegion = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"
	vhdxFileParameters = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
	vhdxDiskSize       = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readVHDX reads the header in use, and what the metadata say.
func readVHDX(dev block.Device) (*Header, error) {
	header, err := vhdxHeader(dev)
	if err != nil {
		return nil, err
	}
	if !block.AllZero(header[48:64]) { // LogGuid
		// Needed: what the disk holds is told by its log only.
		return nil, refuse("start the machine and shut it down",
			"it was not closed: its log has yet to be replayed")
	}
	params, err := vhdxItem(dev, vhdxFileParameters, 8)
	if err != nil {
		return nil, err
	}
	size, err := vhdxItem(dev, vhdxDiskSize, 8)
	if err != nil {
		return nil, err
	}
	h := &Header{Size: int64(le.Uint64(size)), Sub: "dynamic"}
	flags := le.Uint32(params[4:])
	if flags&1 != 0 { // LeaveBlockAllocated
		h.Sub = "fixed"
	}
	if flags&2 != 0 { // HasParent
		// Needed: what it has not lies in a file that nobody named.
		return nil, refuse("merge it with its parent in Hyper-V first", "it is a differencing disk, which is nothing without its parent")
	}
	return h, nil
}

// vhdxHeader gives the header with the higher sequence number, of those that are whole.
func vhdxHeader(dev block.Device) (header []byte, err error) {
	for _, at := range []int64{vhdxHeader1, vhdxHeader2} {
		b, err := bytesAt(dev, at, vhdxHeaderSize)
		if err != nil {
			return nil, err
		}
		if string(b[:4]) == "head" && vhdxChecksum(b) && (header == nil || le.Uint64(b[8:]) > le.Uint64(header[8:])) {
			header = b
		}
	}
	if header == nil {
		// Needed: QEMU refuses it, too.
		return nil, refuse("", "neither of its headers has the checksum that it should")
	}
	return header, nil
}

func vhdxChecksum(b []byte) bool { return le.Uint32(b[4:]) == vhdxSum(b) }

// vhdxSum is the CRC-32C with zeros for the checksum itself.
func vhdxSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:4])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[8:])
}

// vhdxItem reads n bytes of an item of the metadata.
func vhdxItem(dev block.Device, item string, n int) ([]byte, error) {
	table, err := bytesAt(dev, vhdxRegions, vhdxRegionsSize)
	if err != nil {
		return nil, err
	}
	if string(table[:4]) != "regi" || !vhdxChecksum(table) {
		// Needed: QEMU refuses it, too.
		return nil, refuse("", "its region table does not have the checksum that it should")
	}
	e := vhdxEntry(table[16:], int(le.Uint32(table[8:])), vhdxMetadataRegion)
	if e == nil || le.Uint64(e[16:]) > uint64(dev.Size()) {
		// Needed: QEMU refuses it, too.
		return nil, refuse("", "it has no metadata region")
	}
	region := int64(le.Uint64(e[16:]))
	if table, err = bytesAt(dev, region, vhdxRegionsSize); err != nil {
		return nil, err
	}
	e = nil
	if string(table[:8]) == "metadata" {
		e = vhdxEntry(table[32:], int(le.Uint16(table[10:])), item)
	}
	if e == nil || le.Uint32(e[20:]) < uint32(n) {
		// Needed: QEMU refuses it, too.
		return nil, refuse("", "its metadata lack what they should have")
	}
	return bytesAt(dev, region+int64(le.Uint32(e[16:])), n)
}

// vhdxEntry finds an entry of 32 bytes by its GUID.
func vhdxEntry(entries []byte, n int, guid string) []byte {
	for i := range min(n, vhdxMaxEntries, len(entries)/32) {
		if e := entries[i*32:][:32]; string(e[:16]) == guid {
			return e
		}
	}
	return nil
}
