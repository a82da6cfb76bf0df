package archive

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/vmseal/vmseal/formats/ima"
)

// Names of pax records for extended attributes. GNU tar, star and libarchive write the
// first kind, with the raw value; libarchive writes the second, too, with the name
// URL-encoded and the value in base64 (archive_write_pax_header_xattr).
const (
	schily     = "SCHILY.xattr."
	libarchive = "LIBARCHIVE.xattr."
	evmName    = "security.evm"
)

// A record is one of an extended header.
type record struct {
	key   string
	value []byte // without the newline
	raw   []byte // all of it, as it was written
}

// attribute tells which attribute the record holds; "" if none.
func (r record) attribute() (name string, encoded bool) {
	if name, ok := strings.CutPrefix(r.key, schily); ok {
		return name, false
	}
	if name, ok := strings.CutPrefix(r.key, libarchive); ok {
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
		return name, true
	}
	return "", false
}

// parseRecords splits an extended header: "LENGTH KEY=VALUE\n", where the length is that
// of all of it.
func parseRecords(b []byte) ([]record, error) {
	var records []record
	for len(b) > 0 {
		digits, _, ok := bytes.Cut(b[:min(len(b), 20)], []byte(" "))
		n, err := strconv.ParseUint(string(digits), 10, 31)
		if !ok || err != nil || int(n) > len(b) || int(n) < len(digits)+1 || b[n-1] != '\n' {
			return nil, errors.New("an extended header has a record whose length is wrong")
		}
		key, value, ok := bytes.Cut(b[len(digits)+1:n-1], []byte("="))
		if !ok || len(key) == 0 || bytes.IndexByte(key, 0) >= 0 { // GNU tar takes what follows a zero for no record
			return nil, errors.New("an extended header has a record without a key")
		}
		records = append(records, record{string(key), value, b[:n]})
		b = b[n:]
	}
	return records, nil
}

// newRecord makes a record. Its length counts its own digits.
func newRecord(key string, value []byte) record {
	rest := " " + key + "="
	n := len(rest) + len(value) + 1
	for digits := 1; ; digits++ {
		if length := strconv.Itoa(n + digits); len(length) == digits {
			raw := append([]byte(length+rest), value...)
			return record{key, value, append(raw, '\n')}
		}
	}
}

// encode is how libarchive writes a value: base64 without padding.
func encode(value []byte) []byte {
	return base64.RawStdEncoding.AppendEncode(nil, value)
}

func decode(value []byte) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(string(value), "="))
}

// labelled gives the records with another value of security.ima. The others stay where
// they are, bit for bit.
func labelled(records []record, value []byte, dropEVM bool) []record {
	var out []record
	plain, encoded := false, false
	for _, r := range records {
		switch name, isEncoded := r.attribute(); {
		case name == evmName && dropEVM:
		case name == ima.XattrName && isEncoded:
			if !encoded {
				out = append(out, newRecord(r.key, encode(value)))
			}
			encoded = true
		case name == ima.XattrName:
			if !plain {
				out = append(out, newRecord(r.key, value))
			}
			plain = true
		default:
			out = append(out, r)
		}
	}
	if !plain {
		out = append(out, newRecord(schily+ima.XattrName, value))
	}
	return out
}

// An attribute as both kinds of records have it. The last of a kind counts, as with every
// reader.
type attribute struct {
	plain, encoded       []byte
	hasPlain, hasEncoded bool
}

func find(records []record, name string) (a attribute) {
	for _, r := range records {
		switch n, encoded := r.attribute(); {
		case n != name:
		case encoded:
			a.encoded, a.hasEncoded = r.value, true
		default:
			a.plain, a.hasPlain = r.value, true
		}
	}
	return a
}

// agrees reports whether all readers find the same value.
func (a attribute) agrees() bool {
	if !a.hasEncoded {
		return true
	}
	value, err := decode(a.encoded)
	return err == nil && a.hasPlain && bytes.Equal(value, a.plain)
}

// checkGlobal refuses records for all members that follow which change where a member
// ends, what it is called, or what value it has.
func checkGlobal(records []record) error {
	for _, r := range records {
		name, _ := r.attribute()
		if name == ima.XattrName || name == evmName || strings.HasPrefix(r.key, "GNU.sparse.") ||
			slices.Contains([]string{"path", "linkpath", "size", "SCHILY.realsize"}, r.key) {
			return fmt.Errorf("a global header has the record %q, which readers apply in different ways", r.key)
		}
	}
	return nil
}
