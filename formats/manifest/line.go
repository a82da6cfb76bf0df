package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/vmseal/vmseal/formats/escape"
	"github.com/vmseal/vmseal/formats/volume"
)

// headerLine and entryLine define the names and the order of the JSON fields.
type headerLine struct {
	Format      int              `json:"vmseal_manifest"`
	Tool        string           `json:"tool"`
	ImageBefore string           `json:"image_before"`
	ImageAfter  string           `json:"image_after"`
	KeyID       string           `json:"key_id"`
	Hash        string           `json:"hash"`
	Filesystems []filesystemLine `json:"filesystems"`
	Entries     int              `json:"entries"`
}

type filesystemLine struct {
	Partition volume.ID `json:"partition"`
	UUID      string    `json:"uuid"`
}

type entryLine struct {
	Filesystem int    `json:"filesystem"`
	Path       string `json:"path"` // escaped
	Inode      uint64 `json:"inode"`
	Size       int64  `json:"size"`
	Mode       uint32 `json:"mode"`
	UID        uint32 `json:"uid"`
	GID        uint32 `json:"gid"`
	Links      uint32 `json:"links"`
	Digest     string `json:"digest"`
	Label      string `json:"label"`
	KeyID      string `json:"key_id"`
	Value      string `json:"value"`
}

func (h Header) line() headerLine {
	l := headerLine{Format, h.Tool, h.ImageBefore, h.ImageAfter, h.KeyID, h.Hash, nil, h.Entries}
	for _, fs := range h.Filesystems {
		l.Filesystems = append(l.Filesystems, filesystemLine(fs))
	}
	return l
}

func (l headerLine) header() Header {
	h := Header{l.Format, l.Tool, l.ImageBefore, l.ImageAfter, l.KeyID, l.Hash, nil, l.Entries}
	for _, fs := range l.Filesystems {
		h.Filesystems = append(h.Filesystems, Filesystem(fs))
	}
	return h
}

func (e Entry) line() entryLine {
	l := entryLine(e)
	l.Path = escape.Path(e.Path)
	return l
}

func (l entryLine) entry() (Entry, error) {
	e := Entry(l)
	path, err := unescape(l.Path)
	if err != nil {
		return Entry{}, fmt.Errorf("path %q: %w", l.Path, err)
	}
	e.Path = path
	return e, nil
}

// encode returns the canonical form of a line, with its newline.
func encode(line any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(line); err != nil {
		return nil, err
	}
	if b.Len() > MaxLine {
		return nil, fmt.Errorf("line of %d bytes, at most %d are allowed", b.Len(), MaxLine)
	}
	return b.Bytes(), nil
}

// decode parses a line and refuses every form other than that of encode. encoding/json alone would
// accept doubled fields, fields in another case, and missing fields.
func decode(raw []byte, line any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(line); err == io.EOF {
		return errors.New("empty line") // not the end of the manifest
	} else if err != nil {
		return err
	}
	canonical, err := encode(line)
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, canonical) {
		return errors.New("not in canonical form (a field is missing, doubled or out of order, or the spacing differs)")
	}
	return nil
}
