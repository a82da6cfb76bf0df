package fakekernel

import "encoding/binary"

// Where the tables lie, and the next symbol behind them.
const (
	jumps     = Tables
	calls     = Tables + 0x100
	locks     = Tables + 0x200
	tablesEnd = Tables + 0x300
)

// AddJump adds a jump label: the instruction at an address, and its key.
func (k *Kernel) AddJump(at, key uint64) {
	k.extend("__stop___jump_table", func(place uint64) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(at-place))
		b = binary.LittleEndian.AppendUint32(b, uint32(at-(place+4))) // the target is of no interest
		return binary.LittleEndian.AppendUint64(b, key-(place+8)|1)   // likely
	})
}

// AddCall adds a static call: the instruction at an address, and its key with flags.
func (k *Kernel) AddCall(at, key uint64) {
	k.extend("__stop_static_call_sites", func(place uint64) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(at-place))
		return binary.LittleEndian.AppendUint32(b, uint32(key-(place+4)))
	})
}

// AddLock adds a lock prefix.
func (k *Kernel) AddLock(at uint64) {
	k.extend("__smp_locks_end", func(place uint64) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(at-place)) })
}

// extend writes an entry to the end of a table.
func (k *Kernel) extend(end string, entry func(place uint64) []byte) {
	place := k.Symbols[k.symbol(end)].Addr
	b := entry(place)
	copy(k.Tables[place-Tables:], b)
	k.Move(end, place+uint64(len(b)))
}
