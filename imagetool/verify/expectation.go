package verify

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/manifest"
	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/signer"
)

// An Expectation is an image as a manifest has it.
type Expectation struct {
	header  manifest.Header
	entries map[nameKey]*manifest.Entry // of the partitions that were asked for; without their paths
	gone    []volume.ID                 // those of them that have no file system any more
}

// nameKey is one name of a file, wherever the file system stands in the list.
type nameKey struct {
	partition volume.ID
	path      string
}

func keyOf(t *imagetool.Tree, name string) nameKey {
	id, path := t.Split(name)
	return nameKey{id, path}
}

// Read reads a manifest and holds its file systems to those of the
// image: a manifest of another image would only yield nonsense. A file system that
// the image has lost is a finding, not an error: all that was in it is missing.
func Read(ctx context.Context, m *imagetool.Image, path string) (*Expectation, error) {
	x := &Expectation{entries: map[nameKey]*manifest.Entry{}}
	if err := x.read(ctx, m, path); err != nil {
		return nil, err
	}
	systems := x.header.Filesystems
	for _, f := range systems {
		held := slices.ContainsFunc(m.Systems, func(s *imagetool.FileSystem) bool { return s.Volume.ID == f.Partition })
		if m.Covers(f.Partition) && !held {
			x.gone = append(x.gone, f.Partition)
		}
	}
	for _, s := range m.Systems {
		i := slices.IndexFunc(systems, func(f manifest.Filesystem) bool { return f.Partition == s.Volume.ID })
		if i < 0 {
			return nil, fmt.Errorf("%s does not cover %s", path, s.Volume)
		}
		if uuid := s.Info().UUID; !strings.EqualFold(uuid, systems[i].UUID) {
			return nil, fmt.Errorf("%s is of another image: it has file system %s in %s, the image %s",
				path, systems[i].UUID, s.Volume.ID.Title(), uuid)
		}
	}
	return x, nil
}

// read takes the entries of the partitions that were asked for.
func (x *Expectation) read(ctx context.Context, m *imagetool.Image, path string) error {
	file, err := input.Open(ctx, path)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := manifest.NewReader(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	x.header = r.Header()
	once := map[manifest.Entry]*manifest.Entry{} // the names of a file share what is said of it
	for e, err := range r.Entries() {
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		k := nameKey{x.header.Filesystems[e.Filesystem].Partition, e.Path}
		if !m.Covers(k.partition) {
			continue
		}
		e.Path = ""
		if once[e] == nil {
			once[e] = &e
		}
		x.entries[k] = once[e]
	}
	return nil
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
func (x *Expectation) Action(t *imagetool.Tree) func(paths []string) signer.Action {
	return func(paths []string) signer.Action {
		action := signer.ActionSkip
		for _, name := range paths {
			e, ok := x.entries[keyOf(t, name)]
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

// Compare lists all differences, sorted by path. The tree's files are read anew;
// findings, by inode, have the digests that verifying computed.
func (x *Expectation) Compare(ctx context.Context, t *imagetool.Tree, findings []*signer.Finding) ([]Difference, error) {
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
			k := keyOf(t, name)
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
			differences = append(differences, Difference{Path: t.Join(k.partition, k.path), Kind: Missing})
		}
	}
	for _, id := range x.gone {
		differences = append(differences, Difference{Path: t.Join(id, "/"), Kind: Missing})
	}
	slices.SortFunc(differences, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return differences, nil
}

// changed names the fields in which a file differs from its entry.
func (x *Expectation) changed(want *manifest.Entry, f *signer.Finding, value []byte) (fields []string) {
	got := f.File
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
