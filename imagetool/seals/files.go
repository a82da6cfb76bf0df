package seals

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"path"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/fsys"
)

// OverFiles lists the seals that cover files of a file system, of which all regular
// files are given.
func OverFiles(ctx context.Context, s *imagetool.FileSystem, files iter.Seq[fsys.File]) ([]Seal, error) {
	var found []Seal
	for f := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		repositories, err := repositories(s, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.Volume, f.Paths[0], err)
		}
		is, err := isComposefs(s, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.Volume, f.Paths[0], err)
		}
		for _, dir := range repositories {
			found = append(found, repository(s.Volume.ID, dir))
		}
		if is {
			found = append(found, composefs(s.Volume.ID, f.Paths[0]))
		}
	}
	return found, nil
}

// maxConfig is more than the configuration of any repository has.
const maxConfig = 64 << 10

// repositories lists the OSTree repositories in mode bare that a file is the
// configuration of, by its names.
func repositories(s *imagetool.FileSystem, f fsys.File) (dirs []string, err error) {
	for _, name := range f.Paths {
		if path.Base(name) == "config" {
			dirs = append(dirs, path.Dir(name))
		}
	}
	if size := f.Inode.Stat().Size; len(dirs) == 0 || size > maxConfig {
		return nil, nil
	}
	text, err := beginning(s, f, maxConfig)
	if err != nil || !isBare(text) {
		return nil, err
	}
	return dirs, nil
}

// isBare reads the configuration as ostree_repo_open does: without a mode, it is bare.
func isBare(text []byte) bool {
	core, version, mode := false, false, "bare"
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			core = line == "[core]"
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !core || !ok || strings.HasPrefix(line, "#") {
			continue
		}
		switch strings.TrimSpace(key) {
		case "repo_version":
			version = true
		case "mode":
			mode = strings.TrimSpace(value)
		}
	}
	return version && mode == "bare"
}

func repository(partition volume.ID, dir string) Seal {
	return Seal{
		Kind: OSTree, Partition: partition, Path: dir, Over: []volume.ID{partition},
		Text:  fmt.Sprintf("%s in %s is an OSTree repository in mode bare, whose checksums cover security.ima", dir, partition.Title()),
		below: inside(dir) + "objects/", suffix: ".file",
	}
}

// isComposefs looks for the header of a composefs image (libcomposefs/lcfs-erofs.h) and
// the superblock of EROFS behind it. Images have whole blocks.
func isComposefs(s *imagetool.FileSystem, f fsys.File) (bool, error) {
	const blockSize, superOffset, magic, erofsMagic = 4096, 1024, 0xd078629a, 0xe0f5e1e2
	if size := f.Inode.Stat().Size; size == 0 || size%blockSize != 0 {
		return false, nil
	}
	b, err := beginning(s, f, superOffset+4)
	if err != nil {
		return false, err
	}
	le := binary.LittleEndian
	return len(b) == superOffset+4 && le.Uint32(b) == magic && le.Uint32(b[superOffset:]) == erofsMagic, nil
}

// composefs covers the store of which the image is a part: the topmost folder above it
// that is called so, as those of bootc and OSTree are, or else its own folder.
func composefs(partition volume.ID, image string) Seal {
	store := path.Dir(image)
	parts := strings.Split(store, "/")
	for i, name := range parts {
		if name == "composefs" || name == "ostree" {
			store = strings.Join(parts[:i+1], "/")
			break
		}
	}
	return Seal{
		Kind: Composefs, Partition: partition, Path: image, Over: []volume.ID{partition},
		Text:  fmt.Sprintf("%s in %s is a composefs image, which has the attributes of the files in %s", image, partition.Title(), store),
		below: inside(store),
	}
}

// inside is what the paths of files in a folder begin with.
func inside(dir string) string { return strings.TrimSuffix(dir, "/") + "/" }

// beginning reads as much of a file as there is, up to n bytes.
func beginning(s *imagetool.FileSystem, f fsys.File, n int64) ([]byte, error) {
	c, err := s.Open(f.Inode)
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(n, f.Inode.Stat().Size))
	if err := block.ReadFull(c, b, 0); err != nil {
		return nil, err
	}
	return b, nil
}
