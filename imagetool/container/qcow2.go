package container

import (
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/imagetool/block"
)

// Bits of incompatible_features in struct QCowHeader of QEMU's block/qcow2.h.
const (
	qcow2Dirty       = 1 << 0 // QCOW2_INCOMPAT_DIRTY
	qcow2Corrupt     = 1 << 1 // QCOW2_INCOMPAT_CORRUPT
	qcow2DataFile    = 1 << 2 // QCOW2_INCOMPAT_DATA_FILE
	qcow2Compression = 1 << 3 // QCOW2_INCOMPAT_COMPRESSION
	qcow2ExtendedL2  = 1 << 4 // QCOW2_INCOMPAT_EXTL2
)

const (
	qcow2HeaderV2   = 72
	qcow2HeaderV3   = 104
	qcow2MaxBacking = 1023
)

const hintCheck = "on a copy of the image, 'qemu-img check -r all' tries to repair it"

// readQCOW2 reads struct QCowHeader.
func readQCOW2(dev block.Device) (*Header, error) {
	b, err := bytesAt(dev, 0, qcow2HeaderV3)
	if err != nil {
		return nil, err
	}
	version := be.Uint32(b[4:])
	if version != 2 && version != 3 {
		// Needed: nobody knows what the fields mean.
		return nil, refuse("convert it with 'qemu-img convert -O qcow2'", "version %d is none that is known", version)
	}
	clusterBits := be.Uint32(b[20:])
	if clusterBits < 9 || clusterBits > 21 {
		// Needed: QEMU refuses it, too.
		return nil, refuse("", "a cluster of 2^%d bytes is impossible", clusterBits)
	}
	h := &Header{Size: int64(be.Uint64(b[24:])), Sub: fmt.Sprintf("version %d, clusters of %d bytes", version, 1<<clusterBits)}
	if err := qcow2State(be.Uint32(b[32:]), be.Uint32(b[60:])); err != nil {
		return nil, err
	}
	if version == 3 {
		features := be.Uint64(b[72:])
		if err := qcow2Features(features); err != nil {
			return nil, err
		}
		h.Sub += qcow2Kind(features)
	}
	if h.Backing, err = qcow2Backing(dev, b); err == nil && h.Backing != "" {
		h.BackingFormat, err = qcow2BackingFormat(dev, b)
	}
	return h, err
}

// qcow2State judges what a header of any version has.
func qcow2State(crypt, snapshots uint32) error {
	if crypt != 0 {
		// Needed: there is no key.
		return refuse("decrypt it into another image, and sign that", "the contents are encrypted (method %d)", crypt)
	}
	if snapshots != 0 {
		// Needed: whoever goes back to a snapshot has the files that nobody signed.
		return refuse("'qemu-img convert -O qcow2' makes a copy without them",
			"it has %d internal snapshots, in which files would stay unsigned", snapshots)
	}
	return nil
}

// qcow2Features judges what only version 3 has.
func qcow2Features(features uint64) error {
	switch {
	case features&qcow2Corrupt != 0:
		// Needed: its tables contradict each other.
		return refuse(hintCheck, "it is marked as corrupt")
	case features&qcow2Dirty != 0:
		// Needed: its reference counts are not up to date.
		return refuse(hintCheck, "it is marked as dirty: it was not closed")
	case features&qcow2DataFile != 0:
		// Needed: the data are in a file that nobody named.
		return refuse("'qemu-img convert -O qcow2' puts all into one file", "its data lie in another file")
	}
	if unknown := features &^ (qcow2Dirty | qcow2Corrupt | qcow2DataFile | qcow2Compression | qcow2ExtendedL2); unknown != 0 {
		// Needed: nobody knows what they mean.
		return refuse("", "it has incompatible features that are not known (%#x)", unknown)
	}
	return nil
}

func qcow2Kind(features uint64) (kind string) {
	if features&qcow2Compression != 0 {
		kind += ", zstd"
	}
	if features&qcow2ExtendedL2 != 0 {
		kind += ", subclusters"
	}
	return kind
}

func qcow2Backing(dev block.Device, b []byte) (string, error) {
	at, n := be.Uint64(b[8:]), be.Uint32(b[16:])
	if at == 0 {
		return "", nil
	}
	if n == 0 || n > qcow2MaxBacking || at > uint64(dev.Size()) {
		// Needed: QEMU refuses it, too.
		return "", refuse("", "the name of its backing file has %d bytes at %d", n, at)
	}
	name, err := bytesAt(dev, int64(at), int(n))
	return strings.ToValidUTF8(string(name), "?"), err
}

// qcow2BackingFormat looks for the header extension QCOW2_EXT_MAGIC_BACKING_FORMAT.
func qcow2BackingFormat(dev block.Device, b []byte) (Format, error) {
	const magic, maxExtensions = 0xe2792aca, 64
	at := int64(qcow2HeaderV2)
	if be.Uint32(b[4:]) == 3 {
		at = int64(be.Uint32(b[100:]))
	}
	for range maxExtensions {
		head, err := bytesAt(dev, at, 8)
		if err != nil {
			return "", err
		}
		typ, n := be.Uint32(head), be.Uint32(head[4:])
		switch {
		case typ == 0, n > qcow2MaxBacking && typ == magic:
			return "", nil
		case typ == magic:
			name, err := bytesAt(dev, at+8, int(n))
			if err != nil {
				return "", err
			}
			f, err := ParseFormat(string(name))
			if err != nil {
				// Needed: nothing opens it.
				return "", refuse("the overlay has to be made anew over it, with one of these", "the format of its backing file is %v", err)
			}
			return f, nil
		}
		at += 8 + (int64(n)+7)&^7
	}
	return "", nil
}
