package manifest

import "github.com/vmseal/vmseal/formats/volume"

// Format is the format number that this package reads and writes.
const Format = 1

// MaxLine is the maximum length of a line, including its newline. The length of a path has no limit
// but the depth of its tree, and escaping can turn one byte into six.
const MaxLine = 1 << 20

// Header is the first line.
type Header struct {
	Format      int          // Format; 0 means Format
	Tool        string       // name and version of the program that wrote the manifest
	ImageBefore string       // SHA-256 of the whole image before signing, lower-case hex; empty for a live tree
	ImageAfter  string       // SHA-256 of the whole image after signing, in the same form
	KeyID       string       // key id of the signing key, eight lower-case hex digits; empty if nothing was signed
	Hash        string       // hash of all digests: sha256, sha384 or sha512
	Filesystems []Filesystem // the file systems that Entry.Filesystem refers to
	Entries     int          // number of entries, so that a lost line is noticed
}

// Filesystem is one file system of the image.
type Filesystem struct {
	Partition volume.ID // the whole disk, too, for a live tree
	UUID      string    // in the form of the file system's own tools; may be empty
}

// The values of Entry.Label: whether security.ima holds a signature, a digest, or nothing.
const (
	LabelSignature = "signature"
	LabelDigest    = "digest"
	LabelNone      = "none"
)

// Entry describes one name of one regular file. A file with several names has an entry for each,
// all with the same inode number.
type Entry struct {
	Filesystem int    // index into Header.Filesystems
	Path       string // raw bytes, from the root of the file system, beginning with a slash
	Inode      uint64
	Size       int64
	Mode       uint32 // st_mode
	UID        uint32
	GID        uint32
	Links      uint32
	Digest     string // digest of the contents, lower-case hex; empty if the file was not read
	Label      string // LabelSignature, LabelDigest or LabelNone
	KeyID      string // key id in the signature; empty without one
	Value      string // security.ima value, lower-case hex; empty with LabelNone
}
