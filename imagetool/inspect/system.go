package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/seals"
)

// inspectSystem goes from what is certain to what may fail: the superblock, the
// labels, the operating system. Only the end of the context is an error.
func (r *Report) inspectSystem(ctx context.Context, v disk.Volume, out *Volume) error {
	info, err := r.image.Describe(v)
	if err != nil {
		r.problem(v.ID, err)
		return ctx.Err()
	}
	out.FS = info.Kind
	out.Ext = &FileSystem{
		UUID: info.UUID, Label: info.Label, BlockSize: info.BlockSize, InodeSize: info.InodeSize,
		Blocks: info.Blocks, FreeBlocks: info.FreeBlocks, Inodes: info.Inodes, FreeInodes: info.FreeInodes,
		Features: info.Features,
	}
	s, err := r.image.OpenSystem(v)
	if err != nil {
		r.problem(v.ID, err) // has a hint
	}
	for _, reason := range info.Problems {
		r.problem(v.ID, errors.New(reason))
	}
	if s == nil {
		return ctx.Err()
	}
	if err := r.inspectFiles(ctx, s, out); err != nil {
		r.problem(v.ID, err)
	}
	if out.Labels != nil && out.Labels.EVM > 0 {
		r.problem(v.ID, fmt.Errorf("%d files: %w", out.Labels.EVM, fsys.ErrEVM))
	}
	if out.OS, err = s.OS(); err != nil {
		r.problem(v.ID, err)
	}
	if out.Kernel, err = s.Kernels(); err != nil {
		r.problem(v.ID, err)
	}
	return ctx.Err()
}

func (r *Report) inspectFiles(ctx context.Context, s *imagetool.FileSystem, out *Volume) error {
	l, err := s.Check(ctx)
	if err != nil {
		return err
	}
	if out.Labels, err = countLabels(s, l); err != nil {
		return err
	}
	if err := imagetool.CheckSparse(s.Volume, l.Files()); err != nil {
		r.problem(s.Volume.ID, err)
	}
	found, err := seals.OverFiles(ctx, s, l.Files())
	r.Seals = append(r.Seals, found...)
	if err != nil {
		return err
	}
	out.Room, err = r.room(s, l)
	return err
}

// room stages a signature over each file, but for those with security.evm: these are a
// problem of their own.
func (r *Report) room(s *imagetool.FileSystem, l fsys.Listing) (*Room, error) {
	e, err := l.Edit(fsys.EditOptions{})
	if err != nil {
		return nil, err
	}
	for f := range l.Files() {
		if f.EVM {
			continue
		}
		if err := e.SetIMA(f.Inode, make([]byte, r.options.LabelSize)); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Paths[0], err)
		}
	}
	needed, free, err := e.NewBlocks()
	if err == nil && needed > free {
		err = &imagetool.NoSpaceError{Space: imagetool.Space{Volume: s.Volume, BlockSize: s.Info().BlockSize, Needed: needed, Free: free}}
	}
	return &Room{r.options.LabelSize, needed, free}, err
}

func countLabels(s *imagetool.FileSystem, l fsys.Listing) (*Labels, error) {
	n := &Labels{KeyIDs: map[string]int{}}
	for f := range l.Files() {
		value, ok, err := s.Xattr(f.Inode, ima.XattrName)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Paths[0], err)
		}
		n.Files++
		if len(f.Paths) > 1 {
			n.HardLinked++
		}
		if f.EVM {
			n.EVM++
		}
		n.count(value, ok)
	}
	return n, nil
}

func (n *Labels) count(value []byte, present bool) {
	if !present {
		n.None++
		return
	}
	v, err := ima.Parse(value)
	switch {
	case err != nil:
		n.Other++
	case v.Type == ima.VeritySignature:
		n.Verity++
	case v.IsSignature():
		n.Signature++
		if v.Version == 1 {
			n.Version1++
		} else {
			n.KeyIDs[v.KeyID.String()]++
		}
	case v.Type == ima.Digest || v.Type == ima.DigestNG:
		n.Digest++
	default:
		n.Other++
	}
}

// complete reports whether every file names the same key in a signature, and that this
// one if it is known.
func (n *Labels) complete(id *ima.KeyID) bool {
	if n == nil || len(n.KeyIDs) != 1 || n.EVM > 0 {
		return false
	}
	for name, files := range n.KeyIDs {
		if files != n.Files || id != nil && name != id.String() {
			return false
		}
	}
	return true
}
