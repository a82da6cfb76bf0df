package ext4

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a CRC-32C without the inversions before and after that
// hash/crc32 adds, as ext4_chksum does (fs/ext4/ext4.h).
func crc32c(crc uint32, p []byte) uint32 {
	return ^crc32.Update(^crc, castagnoli, p)
}

func crc32cUint32(crc, v uint32) uint32 {
	var b [4]byte
	le.PutUint32(b[:], v)
	return crc32c(crc, b[:])
}

func crc32cUint64(crc uint32, v uint64) uint32 {
	var b [8]byte
	le.PutUint64(b[:], v)
	return crc32c(crc, b[:])
}

// crc16Table is CRC-16/ARC, the polynomial of lib/crc16.c, reflected.
var crc16Table = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xa001
			} else {
				crc >>= 1
			}
		}
		t[i] = crc
	}
	return t
}()

func crc16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc = crc>>8 ^ crc16Table[byte(crc)^b]
	}
	return crc
}
