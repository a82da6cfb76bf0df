package ext4

import (
	"io"
)

// struct ext4_orphan_block_tail (fs/ext4/ext4.h).
const (
	orphanMagic    = 0x0b10ca04
	orphanTailSize = 8
)

// orphanFile is the inode that lists orphans, 0 without that feature. It has
// no name.
func (fs *FS) orphanFile() uint32 {
	if !fs.sb.has(compat, compatOrphanFile) {
		return 0
	}
	return fs.sb.u32(sbOrphanFileInum)
}

// isHidden reports whether an inode beyond the reserved ones has no name, and
// belongs to the file system itself.
func (fs *FS) isHidden(number uint32) bool {
	return number != 0 && (number == fs.orphanFile() || number == fs.sb.quotaInode(projectQuota))
}

// checkOrphanFile makes sure that the orphan file is one, and empty
// (ext4_init_orphan_info).
func (l *Listing) checkOrphanFile() error {
	number := l.fs.orphanFile()
	if number == 0 {
		return nil
	}
	in, err := l.fs.Inode(number)
	if err != nil {
		return err
	}
	if f := l.inode[number]; f == nil || !in.IsRegular() || in.has(flInlineData) {
		return damaged("orphan file, inode %d, is not a regular file in use", number)
	}
	bs := l.fs.sb.blockSize
	c, err := l.fs.Contents(in)
	if err != nil {
		return err
	}
	if at := firstHole(c.runs, uint64(c.size)/bs); uint64(c.size)%bs != 0 || at < uint64(c.size)/bs {
		return damaged("orphan file has a hole or an odd size")
	}
	b := make([]byte, bs)
	for _, r := range c.runs {
		for i := range min(r.count, uint64(c.size)/bs-r.logical) {
			if _, err := c.ReadAt(b, int64((r.logical+i)*bs)); err != nil && err != io.EOF {
				return err
			}
			if err := l.fs.checkOrphanBlock(in, r.physical+i, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (fs *FS) checkOrphanBlock(in *Inode, block uint64, b []byte) error {
	list, tail := b[:len(b)-orphanTailSize], b[len(b)-orphanTailSize:]
	if le.Uint32(tail) != orphanMagic {
		return damaged("orphan file block %d has no magic number", block)
	}
	if fs.sb.metadataCsum() {
		if got, want := le.Uint32(tail[4:]), crc32c(crc32cUint64(in.seed, block), list); got != want {
			return damaged("orphan file block %d: checksum is %#08x, computed %#08x", block, got, want)
		}
	}
	if !isZero(list) {
		return refuse(hintRecover, "orphan file lists inodes that wait to be deleted")
	}
	return nil
}
