package keyfile

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"unicode/utf16"
)

// marker matches the first or the last line of a PEM block. In a file made with cat, the next block
// may follow the last line without a newline.
var marker = regexp.MustCompile(`\n?(-----(?:BEGIN|END) [^\n]{1,64}?-----)\n?`)

// plain returns a copy of a text with LF line ends, without blanks at the beginning and end of
// lines, and with each PEM marker on a line of its own.
func plain(data []byte) []byte {
	text := decodeUTF16(data)
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	if !bytes.Contains(bytes.TrimSpace(text), []byte("\n")) {
		// JSON and environment files write line ends as two characters.
		text = bytes.ReplaceAll(text, []byte(`\r`), nil)
		text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n"))
	}
	lines := bytes.Split(text, []byte("\n"))
	for i, line := range lines {
		lines[i] = bytes.Trim(line, " \t")
	}
	return marker.ReplaceAll(bytes.Join(lines, []byte("\n")), []byte("\n$1\n"))
}

// decodeUTF16 decodes UTF-16, in which Windows PowerShell saves the output of programs. It
// recognizes it by the byte order mark.
func decodeUTF16(data []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	default:
		return data
	}
	var units []uint16
	for data = data[2:]; len(data) >= 2; data = data[2:] {
		units = append(units, order.Uint16(data))
	}
	return []byte(string(utf16.Decode(units)))
}
