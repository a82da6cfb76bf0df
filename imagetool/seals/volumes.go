package seals

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/disk"
)

// OverVolumes lists the seals that cover volumes of an image byte by byte.
func OverVolumes(ctx context.Context, m *imagetool.Image) ([]Seal, error) {
	f := &finder{image: m, volumes: m.Layout().Volumes}
	for _, v := range f.volumes {
		if err := f.look(ctx, v); err != nil {
			return nil, fmt.Errorf("%s: %s: looking for other integrity layers: %w", m.Path(), v, err)
		}
	}
	return f.found, nil
}

type finder struct {
	image   *imagetool.Image
	volumes []disk.Volume
	found   []Seal
}

func (f *finder) add(kind string, v disk.Volume, over []volume.ID, format string, args ...any) {
	f.found = append(f.found, Seal{
		Kind: kind, Partition: v.ID, Over: append([]volume.ID{}, over...), Text: fmt.Sprintf(format, args...),
	})
}

func (f *finder) look(ctx context.Context, v disk.Volume) error {
	dev := f.image.Device(v)
	if t, ok := v.VerityType(); ok {
		return f.typed(v, t, dev)
	}
	if v.FS == disk.VerityHash {
		if err := f.tree(v, dev); err != nil {
			return err
		}
	}
	if footer, err := hasFooter(dev); err != nil {
		return err
	} else if footer {
		f.add(AVB, v, []volume.ID{v.ID}, "%s ends with a footer of Android Verified Boot", v.ID.Title())
	}
	if imagetool.Driver(v) == nil {
		return nil
	}
	return f.behind(ctx, v, dev)
}

// typed is for a partition that is for dm-verity by its type. Its tree tells what it
// covers; else the type does, or it may be any file system.
func (f *finder) typed(v disk.Volume, t disk.VerityType, dev block.Device) error {
	over, err := f.overByTree(v, dev)
	if err != nil {
		return err
	}
	if len(over) == 0 {
		over = f.ids(func(w disk.Volume) bool { return w.HasType(t.DataType) })
	}
	if len(over) == 0 {
		over = f.ids(func(w disk.Volume) bool { return imagetool.Driver(w) != nil })
	}
	what := "the dm-verity hash tree"
	if t.Signature {
		what = "the signature of the dm-verity root hash"
	}
	f.add(Verity, v, over, "%s has %s of %s, by its type %s", v.ID.Title(), what, places(over), t)
	return nil
}

// tree is for a hash tree in a partition of any other type.
func (f *finder) tree(v disk.Volume, dev block.Device) error {
	over, err := f.overByTree(v, dev)
	if err != nil {
		return err
	}
	f.add(Verity, v, over, "%s has the dm-verity hash tree of %s", v.ID.Title(), places(over))
	return nil
}

// overByTree compares the tree on a volume with all others. A tree that none of them
// fits is broken already, or covers a volume of another disk.
func (f *finder) overByTree(v disk.Volume, dev block.Device) ([]volume.ID, error) {
	s, err := readSuperblock(dev, 0)
	if s == nil || err != nil {
		return nil, err
	}
	var over []volume.ID
	for _, w := range f.volumes {
		if w.ID == v.ID {
			continue
		}
		ok, err := s.covers(dev, f.image.Device(w))
		if err != nil {
			return nil, err
		}
		if ok {
			over = append(over, w.ID)
		}
	}
	return over, nil
}

func (f *finder) ids(want func(disk.Volume) bool) (ids []volume.ID) {
	for _, v := range f.volumes {
		if want(v) {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// refusal is an error about what was read, and not about reading.
type refusal interface {
	error
	Advice() string
}

// behind looks for a hash tree between the end of a file system and that of its volume.
func (f *finder) behind(ctx context.Context, v disk.Volume, dev block.Device) error {
	info, err := f.image.Describe(v)
	if _, ok := errors.AsType[refusal](err); ok {
		return nil // it will not be opened
	}
	if err != nil {
		return err
	}
	if info.Blocks > uint64(dev.Size()/int64(info.BlockSize)) {
		return nil // as above
	}
	return superblocks(ctx, dev, int64(info.Blocks)*int64(info.BlockSize), func(s *superblock) error {
		over := []volume.ID{}
		ok, err := s.covers(dev, dev)
		if ok {
			over = append(over, v.ID)
		}
		if err == nil {
			f.add(Verity, v, over, "behind the file system of %s, at byte %d, lies the dm-verity hash tree of %s", v.ID.Title(), s.at, places(over))
		}
		return err
	})
}

// superblocks finds those of dm-verity that begin at a sector from a byte on.
func superblocks(ctx context.Context, dev block.Device, from int64, found func(*superblock) error) error {
	buf := make([]byte, 1<<20)
	next := (from + superblockSize - 1) / superblockSize * superblockSize
	for r := range dev.Data(next, dev.Size()) {
		at := max(next, r.Start/superblockSize*superblockSize)
		for at < r.End {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := dev.ReadAt(buf, at)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			for i := 0; i+superblockSize <= n; i += superblockSize {
				if s := parseSuperblock(buf[i:n], at+int64(i)); s != nil {
					if err := found(s); err != nil {
						return err
					}
				}
			}
			at += int64(len(buf))
			next = at
		}
	}
	return nil
}

// hasFooter looks for AvbFooter (libavb/avb_footer.h) in the last 64 bytes, and checks
// what avb_footer_validate_and_byteswap does.
func hasFooter(dev block.Device) (bool, error) {
	const size = 64
	if dev.Size() < size {
		return false, nil
	}
	b := make([]byte, size)
	if err := block.ReadFull(dev, b, dev.Size()-size); err != nil {
		return false, err
	}
	major := binary.BigEndian.Uint32(b[4:])
	original := binary.BigEndian.Uint64(b[12:])
	return bytes.HasPrefix(b, []byte("AVBf")) && major <= 1 && original <= uint64(dev.Size()), nil
}
