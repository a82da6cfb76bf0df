package inspect

import (
	"context"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/seals"
)

// A Report is what can be learned about an image, also of one that Sign
// refuses.
type Report struct {
	Path       string        `json:"path"`
	Format     string        `json:"format"`
	Size       int64         `json:"size"`
	Container  *Container    `json:"container,omitempty"` // nil for a raw image, or one that is refused
	Table      string        `json:"table"`
	SectorSize int           `json:"sector_size"`
	Partitions []Volume      `json:"partitions"`
	Seals      []seals.Seal  `json:"seals"` // integrity layers of others
	Warnings   []string      `json:"warnings"`
	LeftOut    []disk.Volume `json:"-"` // see imagetool.Image
	Problems   []Problem     `json:"-"`

	image   *imagetool.Image
	options Options
}

// A Container is the file that a disk lies in.
type Container struct {
	Kind    string `json:"kind"`
	Backing string `json:"backing,omitempty"`
	Copy    string `json:"copy"` // how --out makes one
	InPlace bool   `json:"in_place"`
	Reason  string `json:"reason,omitempty"` // of what is not possible
}

// How --out makes a copy.
const (
	Copied   = "copied"    // with all options
	MadeAnew = "made anew" // by qemu-img
)

func containerOf(m *imagetool.Image) *Container {
	if !m.InContainer() {
		return nil
	}
	h := m.Container()
	c := &Container{Kind: h.Sub, Backing: h.Backing, Copy: Copied, InPlace: true}
	if err := m.CheckInPlace(); err != nil {
		c.InPlace, c.Reason = false, err.Error()
	}
	if h.Convert != "" {
		c.Copy, c.Reason = MadeAnew, h.Convert
	}
	return c
}

// A Volume is one partition, the whole disk (0), or a logical volume.
type Volume struct {
	ID     volume.ID   `json:"number"` // the name of a logical volume
	Start  int64       `json:"start"`
	Size   int64       `json:"size"`
	Type   string      `json:"type"`
	Name   string      `json:"name"`
	FS     string      `json:"fs"`
	Group  string      `json:"group,omitempty"`    // of a physical volume: the volume group
	Places []Place     `json:"segments,omitempty"` // of a logical volume: where it lies
	Ext    *FileSystem `json:"ext,omitempty"`
	Labels *Labels     `json:"labels,omitempty"`
	Room   *Room       `json:"room,omitempty"`
	OS     string      `json:"os,omitempty"`
	Kernel []string    `json:"kernels,omitempty"`

	Volume disk.Volume `json:"-"`
}

// A Place is bytes of the disk.
type Place struct {
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
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

// Room is what signatures over all files need.
type Room struct {
	LabelSize  int    `json:"label_size"` // bytes in each
	NewBlocks  uint64 `json:"new_blocks"`
	FreeBlocks uint64 `json:"free_blocks"`
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
	Partition volume.ID // imagetool.AnyPartition: the image as a whole
	Err       error
}

// Options tell Image what is to be foreseen.
type Options struct {
	imagetool.Selection            // what Sign would be told; all partitions are looked at
	LabelSize           int        // of the labels that it would write
	KeyID               *ima.KeyID // of the key that would sign; nil if that is not known
}

// Image looks at an image. The error is for what kept it from looking; what is
// wrong with the image is among the problems.
func Image(ctx context.Context, path string, o Options) (*Report, error) {
	m, err := imagetool.Probe(ctx, path, o.Selection)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	l := m.Layout()
	r := &Report{
		Path: path, Format: l.Format, Size: m.Size(), Table: l.Table, SectorSize: l.SectorSize,
		Partitions: []Volume{}, Seals: []seals.Seal{}, Warnings: append([]string{}, l.Warnings...),
		image: m, options: o, Container: containerOf(m),
	}
	r.layoutProblems()
	if err := m.CheckUnpacked(); err != nil {
		r.problem(imagetool.AnyPartition, err)
	}
	if err := m.Lock(imagetool.ForCopying); err != nil {
		r.problem(imagetool.AnyPartition, err)
	} else if err := m.CheckContainer(ctx); err != nil {
		r.problem(imagetool.AnyPartition, err)
	}
	if err := r.inspectVolumes(ctx); err != nil {
		return nil, err
	}
	r.sealProblems()
	return r, nil
}

// layoutProblems are those of all volumes, or of the one that was chosen.
func (r *Report) layoutProblems() {
	l, chosen := r.image.Layout(), r.options.Partition
	for _, p := range l.Problems {
		if chosen == imagetool.AnyPartition || p.Volume != imagetool.AnyPartition {
			r.problem(p.Volume, p.RefusedError)
		}
	}
	if err := r.image.Refused(); err != nil && len(r.Problems) == 0 {
		r.problem(imagetool.AnyPartition, err)
	}
}

func (r *Report) inspectVolumes(ctx context.Context) (err error) {
	l, found := r.image.Layout(), false
	for _, v := range l.Volumes {
		out := Volume{ID: v.ID, Start: v.Start, Size: v.Size, Type: v.Type, Name: v.Name, FS: v.FS, Group: v.Group, Volume: v}
		for _, s := range v.Segments {
			out.Places = append(out.Places, Place{s.Start, s.End - s.Start})
		}
		r.Partitions = append(r.Partitions, out)
	}
	if len(l.Volumes) > 0 {
		if r.Seals, err = seals.OverVolumes(ctx, r.image); err != nil {
			return err
		}
	}
	for i, v := range l.Volumes {
		if imagetool.Driver(v) == nil {
			continue
		}
		found = found || r.image.Covers(v.ID)
		if err := r.inspectSystem(ctx, v, &r.Partitions[i]); err != nil {
			return err
		}
	}
	if !found && len(r.Problems) == 0 {
		r.problem(imagetool.AnyPartition, &imagetool.NoFileSystemError{Path: r.Path, Volume: r.options.Partition, Found: l.Volumes})
	}
	r.LeftOut, err = r.image.LeftOut(ctx)
	return err
}

// sealProblems: a seal keeps Sign from working on the file systems that it covers, unless
// these look as if they were signed before they were sealed.
func (r *Report) sealProblems() {
	for _, v := range r.Partitions {
		if v.Ext == nil || v.Labels.complete(r.options.KeyID) {
			continue
		}
		over := slices.DeleteFunc(slices.Clone(r.Seals), func(s seals.Seal) bool { return !s.Covers(v.ID) })
		if len(over) > 0 {
			r.problem(v.ID, &seals.BrokenError{Seals: over})
		}
	}
}

// problem notes each reason once: a superblock tells it before Open does. What concerns
// a partition that Sign would not look at keeps it from nothing.
func (r *Report) problem(partition volume.ID, err error) {
	if partition != imagetool.AnyPartition && !r.image.Covers(partition) {
		return
	}
	same := func(p Problem) bool { return p.Partition == partition && p.Err.Error() == err.Error() }
	if !slices.ContainsFunc(r.Problems, same) {
		r.Problems = append(r.Problems, Problem{partition, err})
	}
}
