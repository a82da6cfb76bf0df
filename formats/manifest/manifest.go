package manifest

import "github.com/vmseal/vmseal/formats/volume"

// Format is the number of the format that this package writes and reads.
const Format = 1

// MaxLine bounds a line, its newline included. A path is as long as its tree is
// deep, and escaping can make six bytes of one.
const MaxLine = 1 << 20

// Header is the first line.
type Header struct {
	Format      int          // Format, or 0 for the same
	Tool        string       // name and version of the program that wrote it
	ImageBefore string       // SHA-256 of the whole image before, lower-case hex; empty for a live tree
	ImageAfter  string       // the same after labelling
	KeyID       string       // of the signing key, eight lower-case hex digits; empty if nothing was signed
	Hash        string       // the hash of all digests: sha256, sha384 or sha512
	Filesystems []Filesystem // what Entry.Filesystem counts
	Entries     int          // how many follow, so that a lost line shows
}

// Filesystem is one file system of the image.
type Filesystem struct {
	Partition volume.ID // the whole disk, too, for a live tree
	UUID      string    // as the file system's own tools print it; may be empty
}

// The kinds of label in Entry.Label.
const (
	LabelSignature = "signature"
	LabelDigest    = "digest"
	LabelNone      = "none"
)

// Entry is one name of one regular file. A file with several names has an entry
// for each, with the same inode number.
type Entry struct {
	Filesystem int    // index into Header.Filesystems
	Path       string // raw bytes, from the root of the file system, beginning with a slash
	Inode      uint64
	Size       int64
	Mode       uint32 // st_mode
	UID        uint32
	GID        uint32
	Links      uint32
	Digest     string // lower-case hex; empty when the file was not read
	Label      string // LabelSignature, LabelDigest or LabelNone
	KeyID      string // of the signature; else empty
	Value      string // the security.ima value, lower-case hex; empty with LabelNone
}
