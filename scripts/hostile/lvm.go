package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmseal/vmseal/scripts/hostile/base"
)

// lvmDisks are disks with logical volumes to be spoilt.
type lvmDisks struct {
	seed uint64
	disk *lvmDisk
}

func newLVMDisks(ctx context.Context, dir string, seed uint64) (*lvmDisks, error) {
	im, err := base.Recipes[0].Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	return &lvmDisks{seed, newLVMDisk(im.Bytes)}, nil
}

// make spoils the disk with this number: labels, headers of metadata areas and the text. What is said of root is moved
// where the text was changed, so that only what is in order elsewhere can be signed.
func (l *lvmDisks) make(n int) *specimen {
	rng := rand.New(rand.NewPCG(l.seed, 2<<32+uint64(n)))
	s := &specimen{number: n, kind: "lvm", lvm: l.disk, bytes: bytes.Clone(l.disk.bytes)}
	text := l.disk.text
	for range 1 + rng.IntN(3) {
		if rng.IntN(3) > 0 {
			text = spoilText(text, rng)
			s.damage, s.moved = append(s.damage, "text"), true
			continue
		}
		s.damage = append(s.damage, l.spoilField(s.bytes, rng))
	}
	for i, start := range l.disk.parts() {
		// One copy may stay as it was: it counts if the other one is damaged.
		if s.moved && rng.IntN(4) > 0 {
			l.disk.write(s.bytes[start:], text)
			s.damage = append(s.damage, fmt.Sprintf("text %d:\n%.4000s", i, text))
		}
		if rng.IntN(8) > 0 {
			sealLVM(s.bytes[start:])
		}
	}
	return s
}

// numbers are those at the borders of what fits somewhere.
var numbers = []uint64{0, 1, 2, 7, 8, 255, 512, 513, 4096, 128 << 10, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 1}

// spoilField changes a field of a label or of the header of an area.
func (l *lvmDisks) spoilField(disk []byte, rng *rand.Rand) string {
	at := l.disk.parts()[rng.IntN(2)] + []int{lvmLabel, lvmArea}[rng.IntN(2)] + rng.IntN(19)*8
	v := numbers[rng.IntN(len(numbers))]
	if rng.IntN(2) == 0 {
		binary.LittleEndian.PutUint64(disk[at:], v)
		return fmt.Sprintf("8 bytes at %d: %d", at, v)
	}
	binary.LittleEndian.PutUint32(disk[at+4*rng.IntN(2):], uint32(v))
	return fmt.Sprintf("4 bytes near %d: %d", at, uint32(v))
}

// spoilText changes a line of the metadata.
func spoilText(text string, rng *rand.Rand) string {
	lines := strings.Split(text, "\n")
	i, j := rng.IntN(len(lines)), rng.IntN(len(lines))
	value := fmt.Sprint(numbers[rng.IntN(len(numbers))])
	words := []string{"-1", "pv1", `"pv1"`, `"root"`, `"striped"`, `"snapshot"`, `"thin"`, "[]", "{", "}", `["EXPORTED"]`, `["LOCKED"]`, `"`, "\x00", "#", "0x10", "1.5"}
	key, _, isValue := strings.Cut(lines[i], " = ")
	switch rng.IntN(7) {
	case 0: // a number in it
		fields := strings.FieldsFunc(lines[i], func(r rune) bool { return r < '0' || r > '9' })
		if len(fields) > 0 {
			lines[i] = strings.Replace(lines[i], fields[rng.IntN(len(fields))], value, 1)
		}
	case 1:
		if isValue {
			lines[i] = key + " = " + words[rng.IntN(len(words))]
		}
	case 2:
		lines[i], lines[j] = lines[j], lines[i]
	case 3:
		lines[i] = ""
	case 4:
		lines[i] += "\n" + lines[j]
	case 5: // far too much of it
		lines[i] = strings.Repeat(lines[i]+"\n", 1+rng.IntN(200))
	case 6:
		b := []byte(strings.Join(lines, "\n"))
		b[rng.IntN(len(b))] = byte(rng.IntN(256))
		return clip(string(b))
	}
	return clip(strings.Join(lines, "\n"))
}

// clip keeps a text in its area.
func clip(text string) string { return text[:min(len(text), lvmAreaEnd-lvmText)] }

// signLVM is sign for a disk with logical volumes. As long as the text says where root lies, what is signed has to hold a
// clean file system there, and nothing else may have changed.
func (t *trial) signLVM(ctx context.Context) {
	t.signCopy(ctx, func() {}, func(_ string, written []byte) { t.judgeRoot(ctx, written) })
}

// judgeRoot has e2fsck look at root, and compares the rest of the disk.
func (t *trial) judgeRoot(ctx context.Context, signed []byte) {
	if t.err != nil {
		return
	}
	rest := bytes.Clone(signed)
	for _, r := range t.lvm.root {
		copy(rest[r[0]:r[1]], t.bytes[r[0]:r[1]])
	}
	for _, start := range t.lvm.parts() {
		if !bytes.Equal(signed[start:start+lvmData], t.bytes[start:start+lvmData]) {
			t.fault("the metadata of LVM2 has changed")
		}
	}
	if t.moved {
		return // root may lie elsewhere, and then has proved to be whole there
	}
	if !bytes.Equal(rest, t.bytes) {
		t.fault("something outside of the volume has changed")
	}
	path := filepath.Join(filepath.Dir(t.dir), filepath.Base(t.dir)+".root")
	defer os.Remove(path)
	if t.err = os.WriteFile(path, t.lvm.take(signed), 0o644); t.err != nil {
		return
	}
	c, err := run(ctx, patience, "e2fsck", "-fn", path)
	if err != nil {
		t.err = err
	} else if c.Code != 0 {
		t.fault("e2fsck of the signed volume: exit %d\n%s", c.Code, c.stdout)
	}
}
