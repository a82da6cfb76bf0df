package ext4

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
)

// recorder keeps what is written between two calls of Sync.
type recorder struct {
	memory
	steps [][]write
	last  []write
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.last = append(r.last, write{off, bytes.Clone(p)})
	return r.memory.WriteAt(p, off)
}

func (r *recorder) Sync() error {
	r.steps, r.last = append(r.steps, r.last), nil
	return nil
}

// TestBlocks holds what is announced against what is written.
func TestBlocks(t *testing.T) {
	t.Run("attributes", func(t *testing.T) { checkBlocks(t, smallImage(t)) })
	t.Run("quotas", func(t *testing.T) { checkBlocks(t, quotaImage(t, "-O", "quota,project", "-E", allQuotas)) })
	t.Run("values in inodes", func(t *testing.T) { checkBlocks(t, valueImage(t, "-I", "128", "-O", "ea_inode,quota")) })
}

func checkBlocks(t *testing.T, image memory) {
	_, l := mustCheck(t, image)
	tx, err := stage(t, l, EditOptions{DropEVM: true}, 265).Prepare()
	if err != nil {
		t.Fatal(err)
	}
	first, want := memory(bytes.Clone(image)), memory(bytes.Clone(image))
	changed := make([]bool, len(image))
	for b, err := range tx.Blocks() {
		if err != nil {
			t.Fatal(err)
		}
		final := b.Versions[len(b.Versions)-1]
		copy(first[b.Offset:], b.Versions[0])
		copy(want[b.Offset:], final)
		for i := range final {
			if changed[b.Offset+int64(i)] {
				t.Fatalf("byte %d is announced twice", b.Offset+int64(i))
			}
			changed[b.Offset+int64(i)] = true
		}
	}
	r := &recorder{memory: bytes.Clone(image)}
	if err := tx.Commit(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if len(r.last) > 0 {
		t.Error("something was written after the last sync")
	}
	if !bytes.Equal(r.memory, want) {
		t.Error("what was written is not what was announced")
	}
	checkOrder(t, tx, r.steps)
	for _, step := range [][]write{r.steps[0], r.steps[len(r.steps)-1]} {
		if len(step) != 1 || step[0].off != superOffset {
			t.Errorf("the superblock is not alone in the first and the last step: %v", step)
		}
	}
	for _, w := range slices.Concat(r.steps[:len(r.steps)-1]...) {
		if !bytes.Equal(w.data, first[w.off:][:len(w.data)]) {
			t.Errorf("%d bytes at %d are not the first version", len(w.data), w.off)
		}
	}
	for n := range len(r.steps) - 1 {
		m := memory(bytes.Clone(image))
		for _, w := range slices.Concat(r.steps[:n+1]...) {
			m.WriteAt(w.data, w.off)
		}
		if _, err := Open(m, int64(len(m))); err == nil {
			t.Errorf("what is there after step %d is taken for clean", n+1)
		}
	}
}

// checkOrder fails if anything that is new is written after what refers to it.
func checkOrder(t *testing.T, tx *Transaction, steps [][]write) {
	t.Helper()
	if len(steps) != 5 {
		t.Fatalf("%d steps", len(steps))
	}
	in := func(step int, off int64) bool {
		return slices.ContainsFunc(steps[step], func(w write) bool { return w.off <= off && off < w.off+int64(len(w.data)) })
	}
	for _, ch := range tx.p.changes {
		block, _, _ := tx.fs().inodeLocation(ch.inode.Number)
		if !in(3, tx.offset(block)) {
			t.Errorf("inode %d is not written with the inodes", ch.inode.Number)
		}
		if ch.fresh && !in(1, tx.offset(ch.to)) {
			t.Errorf("block %d is not written with the new ones", ch.to)
		}
	}
	for g, ga := range tx.alloc.groups {
		if ga.taken > 0 && !in(2, tx.offset(tx.fs().groups[g].blockBitmap)) {
			t.Errorf("the bitmap of group %d is not written with the bitmaps", g)
		}
	}
}

// TestNothingToWrite has no value staged.
func TestNothingToWrite(t *testing.T) {
	_, l := mustCheck(t, smallImage(t))
	e, err := l.Edit(EditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := e.Prepare()
	if err != nil || !tx.Empty() {
		t.Fatalf("empty %v, %v", tx.Empty(), err)
	}
	for range tx.Blocks() {
		t.Error("a block is announced")
	}
	if err := tx.Commit(context.Background(), nil); err != nil {
		t.Error(err)
	}
}

// TestChangedMeanwhile has somebody write to the superblock after everything was
// decided: then nothing is written.
func TestChangedMeanwhile(t *testing.T) {
	m := smallImage(t)
	_, l := mustCheck(t, m)
	tx, err := stage(t, l, EditOptions{DropEVM: true}, 265).Prepare()
	if err != nil {
		t.Fatal(err)
	}
	m[superOffset+sbLastMounted]++
	r := &recorder{memory: m}
	if err := tx.Commit(context.Background(), r); err == nil || !strings.Contains(err.Error(), "superblock") {
		t.Errorf("error %v", err)
	}
	if len(r.steps) > 0 || len(r.last) > 0 {
		t.Error("something was written")
	}
}

// lossy is a disk that loses every write to one block, which the cache before it hides
// until it is forgotten.
type lossy struct {
	memory // the cache
	medium memory
	lost   Block
}

func (l *lossy) Sync() error {
	before := bytes.Clone(l.medium[l.lost.Offset:][:len(l.lost.Versions[0])])
	copy(l.medium, l.memory)
	copy(l.medium[l.lost.Offset:], before)
	return nil
}

func (l *lossy) Forget() error {
	copy(l.memory, l.medium)
	return nil
}

// TestLostWrite: what is read back comes from the medium, for each block that is written.
func TestLostWrite(t *testing.T) {
	image := smallImage(t)
	_, l := mustCheck(t, image)
	tx, err := stage(t, l, EditOptions{DropEVM: true}, 265).Prepare()
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range tx.Blocks() {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(image[b.Offset:][:len(b.Versions[0])], b.Versions[len(b.Versions)-1]) {
			continue // nothing is lost
		}
		if err := tx.Commit(context.Background(), &lossy{bytes.Clone(image), bytes.Clone(image), b}); err == nil {
			t.Errorf("a write of %d bytes at %d was lost, and nobody noticed", len(b.Versions[0]), b.Offset)
		}
	}
}
