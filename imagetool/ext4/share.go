package ext4

// Bounds on the attributes of all inodes together, each counted for every inode that
// has it. A thousand may share one block, and all of its values may lie in the same
// inode: what there is to look at could be far more than the file system is large.
const (
	minEntries = 1 << 20
	entryShare = 256 // bytes of the file system for one more entry
	minOutside = 1 << 30
	outsideMax = 16 // times the size of the file system, in values that lie elsewhere
)

// An attributeSum is what all inodes have.
type attributeSum struct {
	entries uint64
	outside uint64 // bytes of values that lie elsewhere
}

func (l *Listing) sumAttributes(in *Inode, entries int, outside uint64) error {
	size := l.fs.sb.blocks * l.fs.sb.blockSize
	l.attributes.entries += uint64(entries)
	l.attributes.outside += outside
	if l.attributes.entries > minEntries+size/entryShare || l.attributes.outside > minOutside+size*outsideMax {
		// Needed: a small image could keep us busy for days.
		return refuse("", "inode %d: with its extended attributes, there are too many for a file system of this size", in.Number)
	}
	return nil
}
