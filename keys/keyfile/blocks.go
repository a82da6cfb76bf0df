package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Block is an object of a file.
type Block struct {
	Label   string
	Headers map[string]string // PEM headers
	Bytes   []byte            // DER; nil for objects that this package only recognizes
	Text    []byte            // PEM block with the line ends of pem.Encode
}

// ErrUnknown is the error for a file that is not a key file.
var ErrUnknown = errors.New("neither PEM nor DER of a key or certificate")

// Blocks returns all objects of a file. It fails if there are none.
func Blocks(data []byte) ([]Block, error) {
	blocks, err := find(data)
	if err == nil || !errors.Is(err, ErrUnknown) {
		return blocks, err
	}
	inner, ok := unbase64(data)
	if !ok {
		return nil, err
	}
	defer clear(inner)
	return find(inner)
}

// Clear overwrites the contents of blocks.
func Clear(blocks []Block) {
	for _, b := range blocks {
		clear(b.Bytes)
		clear(b.Text)
	}
}

func find(data []byte) ([]Block, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("empty")
	}
	if blocks := findDER(data); blocks != nil {
		return blocks, nil
	}
	text := plain(data)
	defer clear(text)
	if bytes.Contains(text, []byte(begin)) {
		return findPEM(text)
	}
	if label := foreign(data, text); label != "" {
		return []Block{{Label: label}}, nil
	}
	return nil, ErrUnknown
}

const (
	begin    = "-----BEGIN"
	end      = "-----END "
	dashes   = "-----"
	maxLabel = 64
)

// findPEM takes all blocks from a plain text, one by one, so that none is skipped.
func findPEM(text []byte) (blocks []Block, err error) {
	defer func() {
		if err != nil {
			Clear(blocks)
			blocks = nil
		}
	}()
	for n := 1; ; n++ {
		i := bytes.Index(text, []byte(begin))
		if i < 0 {
			return blocks, nil
		}
		text = text[i:]
		label, ok := labelOf(text)
		if !ok {
			return blocks, fmt.Errorf("PEM block %d is damaged: it has no label", n)
		}
		last := []byte(end + label + dashes)
		j := bytes.Index(text, last)
		if j < 0 {
			return blocks, fmt.Errorf("PEM block %d (%q) is damaged: it has no end", n, label)
		}
		chunk := text[:j+len(last)]
		text = text[len(chunk):]
		b, ok := decode(chunk, label)
		if !ok {
			return blocks, fmt.Errorf("PEM block %d (%q) is damaged", n, label)
		}
		blocks = append(blocks, b)
	}
}

// labelOf returns the label of the block at the beginning of a text.
func labelOf(text []byte) (string, bool) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	label, space := strings.CutPrefix(string(line[len(begin):]), " ")
	label, ok := strings.CutSuffix(label, dashes)
	return label, space && ok && label != "" && len(label) <= maxLabel
}

// decode parses one block. OpenPGP armor has a checksum, which PEM does not have, so it is only
// recognized.
func decode(chunk []byte, label string) (Block, bool) {
	if strings.HasPrefix(label, "PGP ") {
		return Block{Label: label}, true
	}
	chunk = append(bytes.Clone(chunk), '\n')
	if bytes.Count(chunk, []byte(begin)) != 1 {
		clear(chunk)
		return Block{}, false
	}
	p, _ := pem.Decode(chunk)
	if p == nil || len(p.Bytes) == 0 {
		clear(chunk)
		return Block{}, false
	}
	if label == X509 {
		label = Certificate
	}
	return Block{Label: label, Headers: p.Headers, Bytes: p.Bytes, Text: chunk}, true
}

// foreign recognizes other formats than PEM and DER by their beginning. It returns their label, or
// "".
func foreign(data, text []byte) string {
	text = bytes.TrimSpace(text)
	has := func(prefix string) bool { return bytes.HasPrefix(text, []byte(prefix)) }
	switch {
	case bytes.HasPrefix(data, []byte{0xfe, 0xed, 0xfe, 0xed}), bytes.HasPrefix(data, []byte{0xce, 0xce, 0xce, 0xce}): // JKS, JCEKS
		return Java
	case has("PuTTY-User-Key-File-"):
		return PuTTY
	case has("ssh-"), has("ecdsa-sha2-"), has("sk-ssh-"), has("sk-ecdsa-"):
		return SSHPublic
	case has("---- BEGIN SSH2 PUBLIC KEY ----"):
		return SSH2
	case has("{") && bytes.Contains(text, []byte(`"kty"`)):
		return JWK
	}
	return ""
}

// unbase64 removes base64 around a whole file, with lines of any length.
func unbase64(data []byte) ([]byte, bool) {
	text := bytes.Join(bytes.Fields(plain(data)), nil)
	defer clear(text)
	if len(text) == 0 {
		return nil, false
	}
	inner := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(inner, text)
	return inner[:n], err == nil
}
