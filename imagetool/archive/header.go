package archive

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// BlockSize is the unit of an archive (BLOCKSIZE of GNU tar).
const BlockSize = 512

// Types of members: the typeflag of tar.h, and those of GNU tar and POSIX besides.
const (
	typeOldFile = 0   // AREGTYPE
	typeFile    = '0' // REGTYPE
	typeLink    = '1' // LNKTYPE
	typeSymlink = '2' // SYMTYPE
	typeChar    = '3' // CHRTYPE
	typeBlock   = '4' // BLKTYPE
	typeDir     = '5' // DIRTYPE
	typeFifo    = '6' // FIFOTYPE
	typeCont    = '7' // CONTTYPE: a regular file
	typeGlobal  = 'g' // XGLTYPE
	typePax     = 'x' // XHDTYPE
	typeDumpDir = 'D' // GNUTYPE_DUMPDIR: a directory, and what is in it
	typeLinkL   = 'K' // GNUTYPE_LONGLINK
	typeNameL   = 'L' // GNUTYPE_LONGNAME
	typeMulti   = 'M' // GNUTYPE_MULTIVOL
	typeSparse  = 'S' // GNUTYPE_SPARSE
	typeVolume  = 'V' // GNUTYPE_VOLHDR
)

// A block is one header. Offsets and sizes are those of struct posix_header.
type block []byte

func (b block) name() []byte     { return cString(b[0:100]) }
func (b block) mode() []byte     { return b[100:108] }
func (b block) uid() []byte      { return b[108:116] }
func (b block) gid() []byte      { return b[116:124] }
func (b block) size() []byte     { return b[124:136] }
func (b block) mtime() []byte    { return b[136:148] }
func (b block) checksum() []byte { return b[148:156] }
func (b block) typeflag() byte   { return b[156] }
func (b block) linkname() []byte { return cString(b[157:257]) }
func (b block) magic() string    { return string(b[257:265]) } // and version

const (
	ustarMagic = "ustar\x0000" // TMAGIC, TVERSION
	gnuMagic   = "ustar  \x00" // OLDGNU_MAGIC
	starEnd    = "tar\x00"     // at 508: the trailer of struct star_header
)

// fullName joins the two parts of a name. In GNU's header there are other things where
// ustar has its prefix, and star's prefix is shorter.
func (b block) fullName() string {
	name := string(b.name())
	if b.magic() != ustarMagic {
		return name
	}
	prefix := b[345:500]
	if string(b[508:512]) == starEnd {
		prefix = b[345:476]
	}
	if p := cString(prefix); len(p) > 0 {
		return string(p) + "/" + name
	}
	return name
}

// sums gives the checksum of the header in both ways in which it was ever made: of
// unsigned and of signed bytes, with blanks for its own field.
func (b block) sums() (unsigned, signed int64) {
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return unsigned, signed
}

// valid reports whether the checksum is right.
func (b block) valid() bool {
	want, err := number(b.checksum())
	unsigned, signed := b.sums()
	return err == nil && (want == unsigned || want == signed) && !isZero(b)
}

// seal writes the checksum, as all tools do: six digits, a zero and a blank.
func (b block) seal() {
	sum, _ := b.sums()
	copy(b.checksum(), fmt.Sprintf("%06o\x00 ", sum))
}

// setSize writes eleven octal digits and a zero, which is enough for what is held in
// memory.
func (b block) setSize(n int) { copy(b.size(), fmt.Sprintf("%011o\x00", n)) }

// Recognize reports whether a file begins with the header of a tar archive: it has the
// magic of POSIX or GNU, and its checksum is right. V7 had no magic.
func Recognize(head []byte) bool {
	return len(head) >= BlockSize && string(head[257:262]) == "ustar" && block(head[:BlockSize]).valid()
}

// RecognizeSaid is Recognize for what is said to be an archive: it may be an old one, or
// empty.
func RecognizeSaid(head []byte) bool {
	return len(head) >= BlockSize && (block(head[:BlockSize]).valid() || isZero(head[:BlockSize]))
}

// number reads a numeric field: octal digits, behind blanks and up to a blank or a zero, or
// GNU's base 256 with the first bit set.
func number(field []byte) (int64, error) {
	if len(field) > 0 && field[0]&0x80 != 0 {
		return base256(field)
	}
	digits := strings.TrimLeft(string(field), " ")
	if i := strings.IndexAny(digits, " \x00"); i >= 0 {
		digits = digits[:i]
	}
	n := int64(0)
	for _, c := range []byte(digits) {
		if c < '0' || c > '7' || n > math.MaxInt64>>3 {
			return 0, fmt.Errorf("%q is not an octal number", field)
		}
		n = n<<3 | int64(c-'0')
	}
	return n, nil
}

// base256 refuses negative numbers, which only times may be, and what exceeds 63 bits.
func base256(field []byte) (int64, error) {
	n := int64(field[0] & 0x7f)
	for _, c := range field[1:] {
		if n > math.MaxInt64>>8 {
			return 0, fmt.Errorf("the number %x is negative or too large", field)
		}
		n = n<<8 | int64(c)
	}
	return n, nil
}

// cString ends at the first zero.
func cString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

func isZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// padded is how many bytes n bytes take in the archive.
func padded(n int64) int64 { return n + padding(n) }

func padding(n int64) int64 { return -n & (BlockSize - 1) }
