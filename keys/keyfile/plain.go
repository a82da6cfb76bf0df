package keyfile

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"unicode/utf16"
)

// marker is the first or the last line of a PEM block. In a file made with cat, the
// next block may stand right behind the last line of one.
var marker = regexp.MustCompile(`\n?(-----(?:BEGIN|END) [^\n]{1,64}?-----)\n?`)

// plain gives a text as a copy in lines without blanks around them and with LF
// behind, where each marker of PEM has a line of its own.
func plain(data []byte) []byte {
	text := decodeUTF16(data)
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	if !bytes.Contains(bytes.TrimSpace(text), []byte("\n")) {
		// JSON, and files of environment variables, write line ends as two characters.
		text = bytes.ReplaceAll(text, []byte(`\r`), nil)
		text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n"))
	}
	lines := bytes.Split(text, []byte("\n"))
	for i, line := range lines {
		lines[i] = bytes.Trim(line, " \t")
	}
	return marker.ReplaceAll(bytes.Join(lines, []byte("\n")), []byte("\n$1\n"))
}

// decodeUTF16 reads what Windows PowerShell makes of the output of a program. Only a
// byte order mark shows it.
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
