package stream

import (
	"cmp"
	"slices"

	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/signer"
)

// Names are the files that are there once an archive is unpacked, each with what T says of
// it: a member takes the place of an earlier one of the same name. They take memory for
// every file, and are for what lists all of them.
type Names[T any] struct {
	byPath map[string]*Named[T]
}

// A Named is one file with all its names.
type Named[T any] struct {
	File *signer.File
	Of   T
}

// Add takes a file, in the order of the archive.
func (n *Names[T]) Add(f *signer.File, of T) {
	if n.byPath == nil {
		n.byPath = map[string]*Named[T]{}
	}
	n.byPath[f.Name()] = &Named[T]{f, of}
}

// Other takes a member that is no file of its own.
func (n *Names[T]) Other(m *archive.Member) {
	if target, ok := n.byPath[m.Target()]; ok && m.IsHardLink() {
		n.byPath[m.Path()] = target
		return
	}
	delete(n.byPath, m.Path())
}

// Files gives all of them, in the order of the archive.
func (n *Names[T]) Files() []*Named[T] {
	paths := map[*Named[T]][]string{}
	for path, f := range n.byPath {
		paths[f] = append(paths[f], path)
	}
	files := make([]*Named[T], 0, len(paths))
	for f, names := range paths {
		slices.Sort(names)
		f.File.Paths, f.File.Links = names, uint32(len(names))
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *Named[T]) int { return cmp.Compare(a.File.Inode, b.File.Inode) })
	return files
}
