package imagetool

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/manifest"
	"github.com/vmseal/vmseal/signer"
)

// An Expectation is an image as a manifest has it.
type Expectation struct {
	path    string
	header  manifest.Header
	entries map[nameKey]*manifest.Entry // of the partitions that were asked for; without their paths
	gone    []int                       // those of them that have no file system any more
}

// nameKey is one name of a file, wherever the file system stands in the list.
type nameKey struct {
	partition int
	path      string
}

// ReadExpectation reads a manifest and holds its file systems to those of the
// image: a manifest of another image would only yield nonsense. A file system that
// the image has lost is a finding, not an error: all that was in it is missing.
func (m *Image) ReadExpectation(ctx context.Context, path string) (*Expectation, error) {
	x := &Expectation{path: path, entries: map[nameKey]*manifest.Entry{}}
	once := map[manifest.Entry]*manifest.Entry{} // the names of a file share what is said of it
	var err error
	x.header, err = readManifest(ctx, path, func(h manifest.Header, e manifest.Entry) error {
		k := nameKey{h.Filesystems[e.Filesystem].Partition, e.Path}
		if !m.Covers(k.partition) {
			return nil
		}
		e.Path = ""
		if once[e] == nil {
			once[e] = &e
		}
		x.entries[k] = once[e]
		return nil
	})
	if err != nil {
		return nil, err
	}
	systems := x.header.Filesystems
	for _, f := range systems {
		held := slices.ContainsFunc(m.Systems, func(s *FileSystem) bool { return s.Volume.Number == f.Partition })
		if m.Covers(f.Partition) && !held {
			x.gone = append(x.gone, f.Partition)
		}
	}
	for _, s := range m.Systems {
		i := slices.IndexFunc(systems, func(f manifest.Filesystem) bool { return f.Partition == s.Volume.Number })
		if i < 0 {
			return nil, fmt.Errorf("%s does not cover %s", path, s.Volume)
		}
		if uuid := s.Info().UUID; !strings.EqualFold(uuid, systems[i].UUID) {
			return nil, fmt.Errorf("%s is of another image: it has file system %s in partition %d, the image %s",
				path, systems[i].UUID, s.Volume.Number, uuid)
		}
	}
	return x, nil
}

// A Difference is one name for which image and manifest disagree. Where a whole
// file system is missing, its root is a name too ("2:/").
type Difference struct {
	Path   string   // with the number of the partition, where there are several
	Kind   string   // "missing", "additional" or "changed"
	Fields []string // what was changed
}

// Kinds of Difference.
const (
	Missing    = "missing"
	Additional = "additional"
	Changed    = "changed"
)

// Action is what the manifest has for a file of the tree: a label of the same
// kind is wanted. A file that it does not know should be signed.
func (x *Expectation) Action(t *Tree) func(paths []string) signer.Action {
	return func(paths []string) signer.Action {
		action := signer.ActionSkip
		for _, name := range paths {
			e, ok := x.entries[t.key(name)]
			switch {
			case !ok || e.Label == manifest.LabelSignature:
				return signer.ActionSign
			case e.Label == manifest.LabelDigest:
				action = signer.ActionHash
			}
		}
		return action
	}
}

// key takes a path of the tree apart.
func (t *Tree) key(name string) nameKey {
	for i, s := range t.systems {
		if prefix := t.prefix(i); strings.HasPrefix(name, prefix) {
			return nameKey{s.Volume.Number, strings.TrimPrefix(name, prefix)}
		}
	}
	return nameKey{-1, name}
}

// name is the inverse of key.
func (t *Tree) name(k nameKey) string {
	for i, s := range t.systems {
		if s.Volume.Number == k.partition {
			return t.prefix(i) + k.path
		}
	}
	return fmt.Sprintf("%d:%s", k.partition, k.path)
}

// Compare lists all differences, sorted by path. The tree's files are read anew;
// findings, by inode, have the digests that verifying computed.
func (x *Expectation) Compare(ctx context.Context, t *Tree, findings []*signer.Finding) ([]Difference, error) {
	var differences []Difference
	seen := map[nameKey]bool{}
	for _, f := range findings {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		value, err := t.Label(f.File)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.File.Name(), err)
		}
		for _, name := range f.File.Paths {
			k := t.key(name)
			seen[k] = true
			e, ok := x.entries[k]
			if !ok {
				differences = append(differences, Difference{Path: name, Kind: Additional})
			} else if fields := x.changed(e, f, value); len(fields) > 0 {
				differences = append(differences, Difference{name, Changed, fields})
			}
		}
	}
	for k := range x.entries {
		if !seen[k] {
			differences = append(differences, Difference{Path: t.name(k), Kind: Missing})
		}
	}
	for _, number := range x.gone {
		differences = append(differences, Difference{Path: t.name(nameKey{number, "/"}), Kind: Missing})
	}
	slices.SortFunc(differences, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return differences, nil
}

// changed names the fields in which a file differs from its entry.
func (x *Expectation) changed(want *manifest.Entry, f *signer.Finding, value []byte) (fields []string) {
	got := entryOf(f.File)
	check := func(name string, same bool) {
		if !same {
			fields = append(fields, name)
		}
	}
	check("inode", got.Inode == want.Inode)
	check("size", got.Size == want.Size)
	check("mode", got.Mode == want.Mode)
	check("uid", got.UID == want.UID)
	check("gid", got.GID == want.GID)
	check("links", got.Links == want.Links)
	if f.Digest != nil && want.Digest != "" && f.Hash.String() == x.header.Hash {
		check("digest", hex.EncodeToString(f.Digest) == want.Digest)
	}
	if want.Label != manifest.LabelNone {
		check("label", hex.EncodeToString(value) == want.Value)
	}
	return fields
}
