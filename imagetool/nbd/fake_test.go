package nbd

import (
	"bytes"
	"io"
	"os"
	"time"

	"github.com/vmseal/vmseal/imagetool/block"
)

// A recording is a server that says what it says, whatever it is asked.
type recording struct{ said *bytes.Reader }

func (r recording) Read(p []byte) (int, error)  { return r.said.Read(p) }
func (r recording) Write(p []byte) (int, error) { return len(p), nil }
func (r recording) Close() error                { return nil }
func (r recording) SetDeadline(time.Time) error { return nil }

// says puts the parts of what a server says together.
func says(parts ...[]byte) recording { return recording{bytes.NewReader(bytes.Join(parts, nil))} }

func text(n int) []byte { return bytes.Repeat([]byte("x"), n) }

// The parts of a handshake with an export of 4096 bytes.
var (
	greeting = greetingOf(fixedNewstyle | noZeroes)
	plain    = optionReply(optStructuredReply, repErrUnsup, nil)
	modern   = optionReply(optStructuredReply, repAck, nil)
	context7 = bytes.Join([][]byte{
		optionReply(optSetMetaContext, repMetaContext, append(be.AppendUint32(nil, 7), allocation...)),
		optionReply(optSetMetaContext, repAck, nil),
	}, nil)
	export = bytes.Join([][]byte{
		optionReply(optGo, repInfo, info(4096, flagFlush|flagWriteZeroes)),
		optionReply(optGo, repAck, nil),
	}, nil)
)

func greetingOf(flags uint16) []byte {
	b := be.AppendUint64(nil, magicInit)
	return be.AppendUint16(be.AppendUint64(b, magicOption), flags)
}

func info(size uint64, flags uint16) []byte {
	return be.AppendUint16(be.AppendUint64(be.AppendUint16(nil, infoExport), size), flags)
}

func optionReply(option, typ uint32, data []byte) []byte {
	b := be.AppendUint64(nil, magicReply)
	b = be.AppendUint32(be.AppendUint32(b, option), typ)
	return append(be.AppendUint32(b, uint32(len(data))), data...)
}

func simple(code uint32, cookie uint64, data []byte) []byte {
	b := be.AppendUint32(be.AppendUint32(nil, magicSimple), code)
	return append(be.AppendUint64(b, cookie), data...)
}

func chunkOf(flags, typ uint16, cookie uint64, data ...[]byte) []byte {
	payload := bytes.Join(data, nil)
	b := be.AppendUint32(nil, magicStructured)
	b = be.AppendUint64(be.AppendUint16(be.AppendUint16(b, flags), typ), cookie)
	return append(be.AppendUint32(b, uint32(len(payload))), payload...)
}

// ranges makes ranges of their starts and ends.
func ranges(at ...int64) (list []block.Range) {
	for ; len(at) > 0; at = at[2:] {
		list = append(list, block.Range{Start: at[0], End: at[1]})
	}
	return list
}

func u32(n uint32) []byte { return be.AppendUint32(nil, n) }
func u64(n uint64) []byte { return be.AppendUint64(nil, n) }

// A silent server takes all there is and never says anything: its deadline passes at once.
type silent struct{ recording }

func (s silent) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

var _ io.Reader = silent{}
