package imagetool

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/signer"
)

// A Tree is all file systems of an image as signer.Tree.
type Tree struct {
	systems  []*FileSystem
	opt      fsys.EditOptions
	commit   committer                          // nil for a tree that is only read
	bound    func(paths []string) signer.Action // see Bound; nil for none
	only     map[fileKey]bool                   // see Only; nil for all
	listings []fsys.Listing
	edits    []fsys.Edit
}

var _ signer.Tree = (*Tree)(nil)

// A committer writes the labels of all file systems.
type committer func(ctx context.Context, labels []*labels) error

// ref is what the tree needs to find a file again.
type ref struct {
	system int
	inode  fsys.Inode
}

// Tree gives the image's files. Labels may be staged, but not committed.
func (m *Image) Tree(opt fsys.EditOptions) *Tree {
	return &Tree{systems: m.Systems, opt: opt}
}

// Files checks each file system and lists its regular files in disk order.
func (t *Tree) Files(ctx context.Context) ([]signer.File, error) {
	var files []signer.File
	t.listings, t.edits = nil, nil
	for i, s := range t.systems {
		l, err := s.Check(ctx)
		if err != nil {
			return nil, &VolumeError{s.Volume, err}
		}
		e, err := l.Edit(t.opt)
		if err != nil {
			return nil, err
		}
		t.listings, t.edits = append(t.listings, l), append(t.edits, e)
		for f := range l.Files() {
			if t.only == nil || t.only[fileKey{i, f.Inode.Stat().Number}] {
				files = append(files, t.file(i, f))
			}
		}
	}
	if err := t.checkSparse(files); err != nil {
		return nil, err
	}
	return files, nil
}

// Listed gives the files of one of the file systems as it has them. Files has to have
// been called.
func (t *Tree) Listed(system int) iter.Seq[fsys.File] { return t.listings[system].Files() }

func (t *Tree) file(system int, f fsys.File) signer.File {
	in := f.Inode.Stat()
	paths := f.Paths
	if prefix := t.prefix(system); prefix != "" {
		paths = make([]string, len(f.Paths))
		for i, p := range f.Paths {
			paths[i] = prefix + p
		}
	}
	return signer.File{
		Paths: paths,
		Inode: in.Number,
		Size:  in.Size,
		Mode:  in.Mode,
		UID:   in.UID,
		GID:   in.GID,
		Links: in.Links,
		Ref:   ref{system, f.Inode},
	}
}

// Open gives the contents.
func (t *Tree) Open(f *signer.File) (io.ReadCloser, error) {
	r := f.Ref.(ref)
	c, err := t.systems[r.system].Open(r.inode)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(c), nil
}

// Label gives the present value of security.ima.
func (t *Tree) Label(f *signer.File) ([]byte, error) {
	r := f.Ref.(ref)
	value, ok, err := t.systems[r.system].Xattr(r.inode, ima.XattrName)
	if ok && value == nil {
		value = []byte{} // there, if empty
	}
	return value, err
}

// SetLabel stages a value.
func (t *Tree) SetLabel(f *signer.File, value []byte) error {
	r := f.Ref.(ref)
	return t.edits[r.system].SetIMA(r.inode, value)
}

// Commit writes all staged values and reads them back.
func (t *Tree) Commit(ctx context.Context) error {
	if t.commit == nil {
		return fmt.Errorf("the image is open for reading only")
	}
	var all []*labels
	for i, e := range t.edits {
		tx, err := e.Prepare()
		if err != nil {
			return &VolumeError{t.systems[i].Volume, err}
		}
		all = append(all, &labels{tx, t.systems[i]})
	}
	return t.commit(ctx, all)
}
