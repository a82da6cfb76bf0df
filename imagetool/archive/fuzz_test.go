package archive

import (
	"bytes"
	"testing"
)

// FuzzReader: what is read comes out as it went in; with a label it has the same files with
// the same contents, and that label.
func FuzzReader(f *testing.F) {
	file := member{name: "f", typeflag: '0', data: []byte("data")}
	records := newRecord("SCHILY.xattr.security.ima", []byte("old")).raw
	f.Add(archiveOf(file), []byte("v"))
	f.Add(archiveOf(member{typeflag: 'x', data: records}, file, member{name: "l", link: "f", typeflag: '1'}), value)
	f.Add(archiveOf(member{typeflag: 'L', data: []byte("long\x00")}, member{typeflag: 'K', data: []byte("link\x00")}, file), value)
	f.Add(archiveOf(member{typeflag: 'g', data: newRecord("comment", nil).raw}, member{name: "d/", typeflag: '5'}), value)
	f.Add(archiveOf(member{name: "f", typeflag: 'S', magic: gnuMagic, data: make([]byte, 512), change: func(b block) {
		copy(b[386:], "00000001000\x0000000001000\x00")
		copy(b[483:], "00000002000\x00")
	}}), value)
	var sparse []byte
	for _, r := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", "f"}, {"GNU.sparse.realsize", "2000"}} {
		sparse = append(sparse, newRecord(r[0], []byte(r[1])).raw...)
	}
	data := append(append([]byte("1\n1000\n4\n"), make([]byte, 503)...), "data"...)
	f.Add(archiveOf(member{typeflag: 'x', data: sparse}, member{name: "f", typeflag: '0', data: data}), value)
	f.Fuzz(func(t *testing.T, in, label []byte) {
		in = bytes.Clone(in)
		for at := 0; at+BlockSize <= len(in); at += BlockSize { // no fuzzer guesses a checksum
			if b := block(in[at : at+BlockSize]); string(b[257:262]) == "ustar" {
				b.seal()
			}
		}
		out, err := copied(in, nil)
		if err != nil {
			return
		}
		if !bytes.Equal(in, out) {
			t.Fatal("the copy differs")
		}
		if len(label) == 0 || len(label) > 4096 {
			return
		}
		labelled, err := copied(in, label)
		if err != nil {
			return // an extended header that was nearly full
		}
		before, errBefore := ours(in, 64<<10)
		after, errAfter := ours(labelled, 64<<10)
		if errBefore != nil { // damaged contents, or records that differ
			return
		}
		if errAfter != nil || len(before) != len(after) {
			t.Fatalf("%d files become %d, %v", len(before), len(after), errAfter)
		}
		for i := range after {
			if after[i] != (seen{before[i].name, before[i].contents, string(label)}) {
				t.Errorf("%q becomes %q with label %q", before[i].name, after[i].name, after[i].label)
			}
		}
	})
}
