package ima

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"strings"
	"testing"
)

// unhex decodes hexadecimal digits, which may contain spaces.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rep(digits string, n int) string { return strings.Repeat(digits, n) }

// valid has one value of each shape, written by hand from the kernel's structures, with its
// meaning.
var valid = []struct {
	name string
	hex  string
	want Value
}{
	{"md5", "01" + rep("a1", 16), Value{Type: Digest, Hash: MD5, Digest: bytes.Repeat([]byte{0xa1}, 16)}},
	{"md5 padded", "01" + rep("a1", 16) + "00000000", Value{Type: Digest, Hash: MD5, Digest: bytes.Repeat([]byte{0xa1}, 16), Padded: true}},
	{"sha1", "01" + rep("a1", 20), Value{Type: Digest, Hash: SHA1, Digest: bytes.Repeat([]byte{0xa1}, 20)}},
	{"sha1 with three zeros", "01" + rep("a1", 17) + "000000", Value{Type: Digest, Hash: SHA1, Digest: append(bytes.Repeat([]byte{0xa1}, 17), 0, 0, 0)}},
	{"digest-ng md5", "04 01" + rep("b2", 16), DigestValue(MD5, bytes.Repeat([]byte{0xb2}, 16))},
	{"digest-ng sha256", "04 04" + rep("b2", 32), DigestValue(SHA256, bytes.Repeat([]byte{0xb2}, 32))},
	{"digest-ng sha512", "04 06" + rep("b2", 64), DigestValue(SHA512, bytes.Repeat([]byte{0xb2}, 64))},
	{"digest-ng sha3-512", "04 16" + rep("b2", 64), DigestValue(SHA3_512, bytes.Repeat([]byte{0xb2}, 64))},
	{"version 1", "03 01 78563412 00 01 0102030405060708 01 0010 c3c4", Value{
		Type: Signature, Version: 1, Hash: SHA256, Timestamp: 0x12345678,
		KeyIDV1: KeyIDV1{1, 2, 3, 4, 5, 6, 7, 8}, MPIBits: 16, Signature: []byte{0xc3, 0xc4},
	}},
	{"version 1, odd bits", "03 01 00000000 00 00 0102030405060708 01 0009 01c4", Value{
		Type: Signature, Version: 1, Hash: SHA1,
		KeyIDV1: KeyIDV1{1, 2, 3, 4, 5, 6, 7, 8}, MPIBits: 9, Signature: []byte{1, 0xc4},
	}},
	{"version 2", "03 02 04 c169a8fa 0003 d1d2d3", SignatureV2(SHA256, KeyID{0xc1, 0x69, 0xa8, 0xfa}, []byte{0xd1, 0xd2, 0xd3})},
	{"version 2, one byte", "03 02 06 c169a8fa 0001 00", SignatureV2(SHA512, KeyID{0xc1, 0x69, 0xa8, 0xfa}, []byte{0})},
	{"version 3", "06 03 05 c169a8fa 0002 e1e2", Value{
		Type: VeritySignature, Version: 3, Hash: SHA384, KeyID: KeyID{0xc1, 0x69, 0xa8, 0xfa}, Signature: []byte{0xe1, 0xe2},
	}},
	{"longest", "03 02 04 c169a8fa ffff" + rep("55", 65535), SignatureV2(SHA256, KeyID{0xc1, 0x69, 0xa8, 0xfa}, bytes.Repeat([]byte{0x55}, 65535))},
}

func TestParse(t *testing.T) {
	for _, tt := range valid {
		t.Run(tt.name, func(t *testing.T) {
			raw := unhex(t, tt.hex)
			v, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(v, tt.want) {
				t.Errorf("Parse gives %+v, want %+v", v, tt.want)
			}
			back, err := tt.want.Append([]byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(back, append([]byte("x"), raw...)) {
				t.Errorf("Append gives %x, want %x", back[1:], raw)
			}
		})
	}
}

// TestParseCopies: a value does not change with the buffer that it was parsed from.
func TestParseCopies(t *testing.T) {
	for _, tt := range valid {
		raw := unhex(t, tt.hex)
		v, err := Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		clear(raw)
		if !equal(v, tt.want) {
			t.Errorf("%s: value changed with its buffer", tt.name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, hex, want string }{
		{"nothing", "", "empty"},
		{"type 0", "00", "type 0: unknown"},
		{"type 7", "07" + rep("00", 20), "type 7: unknown"},
		{"evm hmac", "02" + rep("00", 20), "security.evm"},
		{"evm portable", "05 02 04 c169a8fa 0001 00", "security.evm"},
		{"digest of nothing", "01", "0 bytes"},
		{"digest of 15", "01" + rep("a1", 15), "15 bytes"},
		{"digest of 17", "01" + rep("a1", 17), "17 bytes"},
		{"digest of 32", "01" + rep("a1", 32), "32 bytes"},
		{"digest-ng alone", "04", "1 bytes"},
		{"digest-ng without digest", "04 04", "digest of 0 bytes"},
		{"digest-ng short", "04 04" + rep("a1", 31), "digest of 31 bytes"},
		{"digest-ng long", "04 04" + rep("a1", 33), "digest of 33 bytes"},
		{"digest-ng unknown hash", "04 17" + rep("a1", 32), "unknown hash 23"},
		{"digest-ng hash 255", "04 ff" + rep("a1", 32), "unknown hash 255"},
		{"signature alone", "03", "no version"},
		{"version 0", "03 00 04 c169a8fa 0001 00", "unknown version 0"},
		{"version 3 as type 3", "03 03 04 c169a8fa 0001 00", "unknown version 3"},
		{"version 2 as type 6", "06 02 04 c169a8fa 0001 00", "type 6, version 2"},
		{"version 2, cut header", "03 02 04 c169a8fa 00", "8 bytes"},
		{"version 2, no signature", "03 02 04 c169a8fa 0000", "9 bytes"},
		{"version 2, short", "03 02 04 c169a8fa 0003 d1d2", "length is 3, but 2"},
		{"version 2, trailing", "03 02 04 c169a8fa 0003 d1d2d3d4", "length is 3, but 4"},
		{"version 2, unknown hash", "03 02 17 c169a8fa 0001 00", "unknown hash 23"},
		{"version 1, cut header", "03 01 00000000 00 01 0102030405060708 01 0010", "19 bytes"},
		{"version 1, algorithm", "03 01 00000000 01 01 0102030405060708 01 0010 c3c4", "algorithm 1"},
		{"version 1, hash", "03 01 00000000 00 02 0102030405060708 01 0010 c3c4", "hash 2"},
		{"version 1, two integers", "03 01 00000000 00 01 0102030405060708 02 0010 c3c4", "2 integers"},
		{"version 1, short", "03 01 00000000 00 01 0102030405060708 01 0011 c3c4", "17 bits, but 2 bytes"},
		{"version 1, trailing", "03 01 00000000 00 01 0102030405060708 01 0010 c3c4c5", "16 bits, but 3 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := Parse(unhex(t, tt.hex))
			if err == nil {
				t.Fatalf("Parse gives %+v, want an error", v)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

// TestAppendRefuses tests values that Parse never returns.
func TestAppendRefuses(t *testing.T) {
	d16, d20, d32 := make([]byte, 16), bytes.Repeat([]byte{1}, 20), make([]byte, 32)
	sig := []byte{1, 2}
	for name, v := range map[string]Value{
		"zero":                      {},
		"evm":                       {Type: EVMHMAC, Digest: d20},
		"digest sha256":             {Type: Digest, Hash: SHA256, Digest: d32},
		"sha1 that reads as md5":    {Type: Digest, Hash: SHA1, Digest: append(bytes.Repeat([]byte{1}, 16), 0, 0, 0, 0)},
		"padded sha1":               {Type: Digest, Hash: SHA1, Digest: d20, Padded: true},
		"padded digest-ng":          {Type: DigestNG, Hash: MD5, Digest: d16, Padded: true},
		"digest-ng of wrong size":   {Type: DigestNG, Hash: SHA256, Digest: d20},
		"digest-ng with version":    {Type: DigestNG, Version: 2, Hash: SHA256, Digest: d32},
		"digest-ng with key id":     {Type: DigestNG, Hash: SHA256, Digest: d32, KeyID: KeyID{1}},
		"digest-ng with signature":  {Type: DigestNG, Hash: SHA256, Digest: d32, Signature: sig},
		"digest-ng unknown hash":    {Type: DigestNG, Hash: 23},
		"version 2 without":         SignatureV2(SHA256, KeyID{}, nil),
		"version 2 too long":        SignatureV2(SHA256, KeyID{}, make([]byte, 65536)),
		"version 2 unknown hash":    SignatureV2(23, KeyID{}, sig),
		"version 2 with digest":     {Type: Signature, Version: 2, Hash: SHA256, Signature: sig, Digest: d32},
		"version 2 with timestamp":  {Type: Signature, Version: 2, Hash: SHA256, Signature: sig, Timestamp: 1},
		"version 3 as type 3":       {Type: Signature, Version: 3, Hash: SHA256, Signature: sig},
		"version 2 as type 6":       {Type: VeritySignature, Version: 2, Hash: SHA256, Signature: sig},
		"version 1 sha512":          {Type: Signature, Version: 1, Hash: SHA512, MPIBits: 16, Signature: sig},
		"version 1 bits":            {Type: Signature, Version: 1, Hash: SHA1, MPIBits: 17, Signature: sig},
		"version 1 empty":           {Type: Signature, Version: 1, Hash: SHA1},
		"version 1 with short id":   {Type: Signature, Version: 1, Hash: SHA1, MPIBits: 16, Signature: sig, KeyID: KeyID{1}},
		"version 1 with its digest": {Type: Signature, Version: 1, Hash: SHA1, MPIBits: 16, Signature: sig, Digest: d20},
	} {
		if b, err := v.Append([]byte("x")); err == nil {
			t.Errorf("%s: Append gives %x, want an error", name, b)
		} else if string(b) != "x" {
			t.Errorf("%s: Append fails, but changes its argument to %x", name, b)
		}
	}
}

func TestHashes(t *testing.T) {
	for id := HashID(0); id.Known(); id++ {
		back, err := ParseHash(id.String())
		if err != nil || back != id {
			t.Errorf("ParseHash(%q) = %v, %v", id.String(), back, err)
		}
		if h := id.CryptoHash(); h != 0 && h.Size() != id.Size() {
			t.Errorf("%v: size %d, but crypto has %d", id, id.Size(), h.Size())
		}
	}
	for _, name := range []string{"", "SHA256", "sha-256", "hash 23"} {
		if id, err := ParseHash(name); err == nil {
			t.Errorf("ParseHash(%q) = %v, want an error", name, id)
		}
	}
	if h := HashID(23); h.Known() || h.Size() != 0 || h.CryptoHash() != 0 || h.String() != "hash 23" {
		t.Errorf("hash 23 counts as known")
	}
	if SHA384.CryptoHash() != crypto.SHA384 || SHA3_512 != 22 {
		t.Error("numbers are not those of enum hash_algo")
	}
}

func TestKeyID(t *testing.T) {
	id, err := ParseKeyID("c169a8fa")
	if err != nil || id != (KeyID{0xc1, 0x69, 0xa8, 0xfa}) || id.String() != "c169a8fa" {
		t.Errorf("ParseKeyID gives %v, %v", id, err)
	}
	for _, s := range []string{"", "c169a8f", "c169a8fa00", "C169A8FA", "c169a8fg", "0xc169a8"} {
		if id, err := ParseKeyID(s); err == nil {
			t.Errorf("ParseKeyID(%q) = %v, want an error", s, id)
		}
	}
}

// TestSignedHeader compares the 16 bytes of struct signature_hdr with those inside the value.
func TestSignedHeader(t *testing.T) {
	for _, tt := range valid {
		h, err := tt.want.SignedHeader()
		if tt.want.Version != 1 {
			if err == nil {
				t.Errorf("%s: a signed header", tt.name)
			}
			continue
		}
		if raw := unhex(t, tt.hex); err != nil || !bytes.Equal(h, raw[1:17]) {
			t.Errorf("%s: SignedHeader = %x, %v, want %x", tt.name, h, err, raw[1:17])
		}
	}
}

func TestFileID(t *testing.T) {
	got, err := FileID(SHA256, bytes.Repeat([]byte{7}, 32))
	if want := unhex(t, "06 04"+rep("07", 32)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("FileID = %x, %v, want %x", got, err, want)
	}
	if _, err := FileID(SHA256, make([]byte, 31)); err == nil {
		t.Error("FileID accepts a digest of the wrong size")
	}
}

func equal(a, b Value) bool {
	same := bytes.Equal(a.Digest, b.Digest) && bytes.Equal(a.Signature, b.Signature)
	return same && a.Type == b.Type && a.Version == b.Version && a.Hash == b.Hash && a.Padded == b.Padded &&
		a.KeyID == b.KeyID && a.KeyIDV1 == b.KeyIDV1 && a.Timestamp == b.Timestamp && a.MPIBits == b.MPIBits
}

func FuzzParse(f *testing.F) {
	for _, tt := range valid {
		raw := unhex(f, tt.hex)
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
		f.Add(append(raw, 0))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := Parse(raw)
		if err != nil {
			if !equal(v, Value{}) {
				t.Errorf("an error and a value: %+v, %v", v, err)
			}
			return
		}
		back, err := v.Append(nil)
		if err != nil {
			t.Fatalf("Append refuses what Parse gave: %+v: %v", v, err)
		}
		if !bytes.Equal(back, raw) {
			t.Fatalf("Append gives %x, but Parse read %x", back, raw)
		}
	})
}

// FuzzAppend builds values from arbitrary fields: Parse must return each value that Append accepts
// unchanged.
func FuzzAppend(f *testing.F) {
	for _, tt := range valid {
		v := tt.want
		f.Add(byte(v.Type), v.Version, byte(v.Hash), v.Digest, v.Padded, v.KeyID[:], v.Signature, v.KeyIDV1[:], v.Timestamp, v.MPIBits)
	}
	f.Fuzz(func(t *testing.T, typ, version, hash byte, digest []byte, padded bool, id, sig, id1 []byte, timestamp uint32, bits uint16) {
		v := Value{Type: Type(typ), Version: version, Hash: HashID(hash), Digest: digest, Padded: padded, Signature: sig, Timestamp: timestamp, MPIBits: bits}
		copy(v.KeyID[:], id)
		copy(v.KeyIDV1[:], id1)
		raw, err := v.Append(nil)
		if err != nil {
			return
		}
		if back, err := Parse(raw); err != nil || !equal(back, v) {
			t.Fatalf("Parse gives %+v, %v, but Append was given %+v", back, err, v)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	raw, err := SignatureV2(SHA256, KeyID{1, 2, 3, 4}, make([]byte, 256)).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	v := SignatureV2(SHA256, KeyID{1, 2, 3, 4}, make([]byte, 256))
	buf := make([]byte, 0, 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Append(buf); err != nil {
			b.Fatal(err)
		}
	}
}
