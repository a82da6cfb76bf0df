package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/seals"
)

// A Report is what can be learned about an image, also of one that Sign
// refuses.
type Report struct {
	Path       string       `json:"path"`
	Format     string       `json:"format"`
	Size       int64        `json:"size"`
	Table      string       `json:"table"`
	SectorSize int          `json:"sector_size"`
	Partitions []Volume     `json:"partitions"`
	Seals      []seals.Seal `json:"seals"` // integrity layers of others
	Warnings   []string     `json:"warnings"`
	Problems   []Problem    `json:"-"`
}

// A Volume is one partition, or the whole disk (0).
type Volume struct {
	Number int         `json:"number"`
	Start  int64       `json:"start"`
	Size   int64       `json:"size"`
	Type   string      `json:"type"`
	Name   string      `json:"name"`
	FS     string      `json:"fs"`
	Ext    *FileSystem `json:"ext,omitempty"`
	Labels *Labels     `json:"labels,omitempty"`
	OS     string      `json:"os,omitempty"`
	Kernel []string    `json:"kernels,omitempty"`
}

// FileSystem is what the superblock says.
type FileSystem struct {
	UUID       string   `json:"uuid"`
	Label      string   `json:"label"`
	BlockSize  int      `json:"block_size"`
	InodeSize  int      `json:"inode_size"`
	Blocks     uint64   `json:"blocks"`
	FreeBlocks uint64   `json:"free_blocks"`
	Inodes     uint64   `json:"inodes"`
	FreeInodes uint64   `json:"free_inodes"`
	Features   []string `json:"features"`
}

// Labels counts the regular files by the kind of security.ima that they have.
type Labels struct {
	Files      int            `json:"files"`
	Signature  int            `json:"signature"`
	Digest     int            `json:"digest"`
	Verity     int            `json:"verity"`
	Other      int            `json:"other"` // EVM values, and what is no label at all
	None       int            `json:"none"`
	EVM        int            `json:"evm"`     // files with security.evm
	KeyIDs     map[string]int `json:"key_ids"` // signatures by the key that they name
	Version1   int            `json:"version_1"`
	HardLinked int            `json:"hard_linked"`
}

// A Problem keeps Sign from working on the image.
type Problem struct {
	Partition int // imagetool.AnyPartition: the image as a whole
	Err       error
}

// Image looks at an image. The error is for what kept it from looking; what is
// wrong with the image is among the problems.
func Image(ctx context.Context, path string, s imagetool.Selection) (*Report, error) {
	m, err := imagetool.Probe(path, s)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	l := m.Layout()
	r := &Report{
		Path: path, Format: l.Format, Size: m.Size(), Table: l.Table, SectorSize: l.SectorSize,
		Partitions: []Volume{}, Seals: []seals.Seal{}, Warnings: append([]string{}, l.Warnings...),
	}
	for _, p := range l.Problems {
		r.problem(p.Volume, p.RefusedError)
	}
	if err := m.Lock(imagetool.ForCopying); err != nil {
		r.problem(imagetool.AnyPartition, err)
	}
	found := false
	if l.Format == "raw" {
		if r.Seals, err = seals.OverVolumes(ctx, m); err != nil {
			return nil, err
		}
	}
	for _, v := range l.Volumes {
		r.Partitions = append(r.Partitions, Volume{
			Number: v.Number, Start: v.Start, Size: v.Size, Type: v.Type, Name: v.Name, FS: v.FS,
		})
		if imagetool.Driver(v) != nil {
			found = true
			if err := r.inspectSystem(ctx, m, v, &r.Partitions[len(r.Partitions)-1]); err != nil {
				return nil, err
			}
		}
	}
	if !found && len(l.Problems) == 0 {
		r.problem(imagetool.AnyPartition, &imagetool.NoFileSystemError{Path: path, Number: imagetool.AnyPartition, Found: l.Volumes})
	}
	r.sealProblems()
	return r, nil
}

// sealProblems: a seal keeps Sign from working on the file systems that it covers.
func (r *Report) sealProblems() {
	for _, v := range r.Partitions {
		if v.Ext == nil {
			continue
		}
		over := slices.DeleteFunc(slices.Clone(r.Seals), func(s seals.Seal) bool { return !s.Covers(v.Number) })
		if len(over) > 0 {
			r.problem(v.Number, &seals.BrokenError{Seals: over})
		}
	}
}

// problem notes each reason once: a superblock tells it before Open does.
func (r *Report) problem(partition int, err error) {
	same := func(p Problem) bool { return p.Partition == partition && p.Err.Error() == err.Error() }
	if !slices.ContainsFunc(r.Problems, same) {
		r.Problems = append(r.Problems, Problem{partition, err})
	}
}

// inspectSystem goes from what is certain to what may fail: the superblock, the
// labels, the operating system. Only the end of the context is an error.
func (r *Report) inspectSystem(ctx context.Context, m *imagetool.Image, v disk.Volume, out *Volume) error {
	info, err := m.Describe(v)
	if err != nil {
		r.problem(v.Number, err)
		return ctx.Err()
	}
	out.FS = info.Kind
	out.Ext = &FileSystem{
		UUID: info.UUID, Label: info.Label, BlockSize: info.BlockSize, InodeSize: info.InodeSize,
		Blocks: info.Blocks, FreeBlocks: info.FreeBlocks, Inodes: info.Inodes, FreeInodes: info.FreeInodes,
		Features: info.Features,
	}
	for _, reason := range info.Problems {
		r.problem(v.Number, errors.New(reason))
	}
	s, err := m.OpenSystem(v)
	if err != nil {
		r.problem(v.Number, err)
		return ctx.Err()
	}
	if err := r.inspectFiles(ctx, s, out); err != nil {
		r.problem(v.Number, err)
	}
	if out.Labels != nil && out.Labels.EVM > 0 {
		r.problem(v.Number, fmt.Errorf("%d files: %w", out.Labels.EVM, fsys.ErrEVM))
	}
	if out.OS, err = s.OS(); err != nil {
		r.problem(v.Number, err)
	}
	if out.Kernel, err = s.Kernels(); err != nil {
		r.problem(v.Number, err)
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
	found, err := seals.OverFiles(ctx, s, l.Files())
	r.Seals = append(r.Seals, found...)
	return err
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
