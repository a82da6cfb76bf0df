package imagetool

import (
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/signer"
)

// Systems are the file systems of the tree.
func (t *Tree) Systems() []*FileSystem { return t.systems }

// System tells in which of them a file lies.
func (t *Tree) System(f *signer.File) int { return f.Ref.(ref).system }

// prefix goes in front of the paths where they could be mistaken.
func (t *Tree) prefix(system int) string {
	if len(t.systems) == 1 {
		return ""
	}
	return fmt.Sprintf("%s:", t.systems[system].Volume.ID)
}

// Plain gives the paths of a file without the name of the volume.
func (t *Tree) Plain(paths []string) []string {
	if len(t.systems) == 1 {
		return paths
	}
	plain := make([]string, len(paths))
	for i, p := range paths {
		_, plain[i], _ = strings.Cut(p, ":")
	}
	return plain
}

// Split takes a path of the tree apart. The volume is disk.AnyVolume if there is none such.
func (t *Tree) Split(name string) (id volume.ID, path string) {
	for i, s := range t.systems {
		if prefix := t.prefix(i); strings.HasPrefix(name, prefix) {
			return s.Volume.ID, strings.TrimPrefix(name, prefix)
		}
	}
	return AnyPartition, name
}

// Join is the inverse of Split.
func (t *Tree) Join(id volume.ID, path string) string {
	for i, s := range t.systems {
		if s.Volume.ID == id {
			return t.prefix(i) + path
		}
	}
	return fmt.Sprintf("%s:%s", id, path)
}
