package ext4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
)

// readBack opens what was written as if for the first time, checks all of it,
// and holds every file against what was planned for it.
func (t *Transaction) readBack(ctx context.Context, r io.ReaderAt) error {
	e, sb := t.e, t.fs().sb
	fs, err := Open(r, int64(sb.blocks*sb.blockSize))
	if err != nil {
		return err
	}
	after, err := fs.Check(ctx)
	if err != nil {
		return err
	}
	if len(after.Files) != len(e.l.Files) {
		return fmt.Errorf("%d files became %d", len(e.l.Files), len(after.Files))
	}
	changes := make(map[uint32]*change, len(t.p.changes))
	for _, c := range t.p.changes {
		changes[c.inode.Number] = c
	}
	for i := range after.Files {
		before, in := e.l.Files[i].Inode, after.Files[i].Inode
		switch c := changes[in.Number]; {
		case before.Number != in.Number || !slices.Equal(e.l.Files[i].Paths, after.Files[i].Paths):
			err = fmt.Errorf("inode %d became inode %d, %q", before.Number, in.Number, after.Files[i].Paths)
		case c != nil:
			err = e.compare(fs, in, c)
		case !bytes.Equal(before.raw, in.raw):
			err = fmt.Errorf("inode %d changed", in.Number)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.l.Files[i].Paths[0], err)
		}
	}
	return nil
}

// compare holds an inode and its attributes against the change that was meant.
func (e *Edit) compare(fs *FS, in *Inode, c *change) error {
	want := *c.inode
	want.raw = bytes.Clone(want.raw)
	if err := c.rewrite(fs, &want, e.opt.Time); err != nil {
		return err
	}
	if !bytes.Equal(want.raw, in.raw) {
		return fmt.Errorf("inode %d is not what was written", in.Number)
	}
	body, block, err := fs.allEntries(in)
	if err != nil {
		return err
	}
	all := slices.Concat(body, block)
	i := slices.IndexFunc(all, func(x entry) bool { return x.is(indexSecurity, imaName) })
	if i < 0 || !bytes.Equal(all[i].value, c.value) {
		return fmt.Errorf("security.ima of inode %d is not what was written", in.Number)
	}
	if othersDigest(all, false) != c.others {
		return fmt.Errorf("other extended attributes of inode %d changed", in.Number)
	}
	return nil
}

// othersDigest identifies all attributes but security.ima and, on request,
// security.evm, wherever they lie.
func othersDigest(entries []entry, dropEVM bool) [sha256.Size]byte {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool {
		return e.is(indexSecurity, imaName) || dropEVM && e.is(indexSecurity, evmName)
	})
	slices.SortFunc(entries, func(a, b entry) int { return compareEntries(&a, &b) })
	h := sha256.New()
	for _, e := range entries {
		fmt.Fprintf(h, "%d %q %x %d %d\n", e.index, e.name, e.value, e.inode, e.outside)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
