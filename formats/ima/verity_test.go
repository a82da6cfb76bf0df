package ima

import "testing"

// TestIsFileID: IsFileID recognizes what FileID returns for the hashes that signatures use, and
// nothing else.
func TestIsFileID(t *testing.T) {
	for _, h := range []HashID{SHA256, SHA384, SHA512} {
		id, err := FileID(h, make([]byte, h.Size()))
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []Type{Signature, EVMPortable, VeritySignature} {
			if id[0] = byte(kind); !IsFileID(id) {
				t.Errorf("%v: %x is not recognized", h, id)
			}
		}
		for name, other := range map[string][]byte{
			"shorter":         id[:len(id)-1],
			"longer":          append(id[:len(id):len(id)], 0),
			"type 4":          append([]byte{4}, id[1:]...),
			"unknown hash":    append([]byte{id[0], byte(len(hashes))}, id[2:]...),
			"nothing":         nil,
			"only a type":     id[:1],
			"line of a shell": []byte("0604" + string(id[4:])),
		} {
			if IsFileID(other) {
				t.Errorf("%v, %s: %x is recognized", h, name, other)
			}
		}
	}
}
