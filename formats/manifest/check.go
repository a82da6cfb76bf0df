package manifest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/volume"
)

// check checks a header. The Reader and the Writer both use it.
func (h Header) check() error {
	if h.Format != 0 && h.Format != Format {
		return fmt.Errorf("format %d, but only %d is known", h.Format, Format)
	}
	if !utf8.ValidString(h.Tool) || strings.ContainsFunc(h.Tool, unicode.IsControl) {
		return errors.New("tool is not plain text")
	}
	for name, digest := range map[string]string{"image_before": h.ImageBefore, "image_after": h.ImageAfter} {
		if digest != "" && !isHex(digest, ima.SHA256.Size()) {
			return fmt.Errorf("%s is not a sha256 digest in hexadecimal", name)
		}
	}
	if h.KeyID != "" {
		if _, err := ima.ParseKeyID(h.KeyID); err != nil {
			return err
		}
	}
	if _, err := signedHash(h.Hash); err != nil {
		return err
	}
	if len(h.Filesystems) == 0 {
		return errors.New("no file systems")
	}
	if h.Entries < 0 {
		return fmt.Errorf("%d entries", h.Entries)
	}
	for i, fs := range h.Filesystems {
		if _, err := volume.Parse(string(fs.Partition)); err != nil {
			return fmt.Errorf("file system %d: %w", i, err)
		}
		if len(fs.UUID) > 64 || strings.ContainsFunc(fs.UUID, isNotUUID) {
			return fmt.Errorf("file system %d: bad uuid", i)
		}
	}
	return nil
}

// check checks an entry below the header h.
func (e Entry) check(h Header) error {
	if e.Filesystem < 0 || e.Filesystem >= len(h.Filesystems) {
		return fmt.Errorf("file system %d, but the header names %d", e.Filesystem, len(h.Filesystems))
	}
	if err := checkPath(e.Path); err != nil {
		return err
	}
	if e.Size < 0 {
		return fmt.Errorf("size %d", e.Size)
	}
	hash, err := signedHash(h.Hash)
	if err != nil {
		return err
	}
	if e.Digest != "" && !isHex(e.Digest, hash.Size()) {
		return fmt.Errorf("digest is not %v in hexadecimal", hash)
	}
	return e.checkValue(hash)
}

// checkValue makes sure that the entry and its security.ima value agree. Package keys verifies
// signatures.
func (e Entry) checkValue(hash ima.HashID) error {
	if e.Label == LabelNone {
		if e.KeyID != "" || e.Value != "" {
			return errors.New(`a key id or a value, but the label is "none"`)
		}
		return nil
	}
	raw, err := hex.DecodeString(e.Value)
	if err != nil || hex.EncodeToString(raw) != e.Value {
		return errors.New("value is not lower-case hexadecimal")
	}
	v, err := ima.Parse(raw)
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	if v.Hash != hash {
		return fmt.Errorf("value is for %v, the manifest for %v", v.Hash, hash)
	}
	if e.Digest == "" {
		return errors.New("a value without a digest")
	}
	switch {
	case e.Label == LabelSignature && v.Type == ima.Signature && v.Version == 2:
		if e.KeyID != v.KeyID.String() {
			return fmt.Errorf("key id %q, but the value has %v", e.KeyID, v.KeyID)
		}
	case e.Label == LabelDigest && v.Type == ima.DigestNG:
		if e.KeyID != "" {
			return errors.New("a digest with a key id")
		}
		if e.Digest != hex.EncodeToString(v.Digest) {
			return errors.New("the value holds another digest than the entry")
		}
	default:
		return fmt.Errorf("label %q does not fit a value of type %v", e.Label, v.Type)
	}
	return nil
}

// checkPath accepts only one spelling of each path.
func checkPath(path string) error {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return fmt.Errorf("path %q does not begin with a slash", path)
	}
	if strings.Contains(path, "\x00") {
		return fmt.Errorf("path %q holds a zero byte", path)
	}
	for _, name := range strings.Split(rest, "/") {
		if name == "" || name == "." || name == ".." {
			return fmt.Errorf("path %q has a component %q", path, name)
		}
	}
	return nil
}

func signedHash(name string) (ima.HashID, error) {
	hash, err := ima.ParseHash(name)
	if err != nil {
		return 0, err
	}
	switch hash {
	case ima.SHA256, ima.SHA384, ima.SHA512:
		return hash, nil
	}
	return 0, fmt.Errorf("hash %v is not sha256, sha384 or sha512", hash)
}

func isHex(s string, size int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == size && hex.EncodeToString(b) == s
}

func isNotUUID(r rune) bool {
	return !(r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
}
