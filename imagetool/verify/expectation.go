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
	if err := x.read(ctx, m.Covers, path); err != nil {
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

// ReadArchive reads the manifest of an archive.
func ReadArchive(ctx context.Context, path string) (*Expectation, error) {
	x := &Expectation{entries: map[nameKey]*manifest.Entry{}}
	if err := x.read(ctx, func(volume.ID) bool { return true }, path); err != nil {
		return nil, err
	}
	if s := x.header.Filesystems; len(s) != 1 || s[0] != (manifest.Filesystem{Partition: volume.WholeDisk}) {
		return nil, fmt.Errorf("%s is the manifest of an image, not of an archive", path)
	}
	return x, nil
}

// read takes the entries of the partitions that were asked for.
func (x *Expectation) read(ctx context.Context, covers func(volume.ID) bool, path string) error {
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
		if !covers(k.partition) {
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
	return x.action(func(name string) nameKey { return keyOf(t, name) })
}

// ArchiveAction is Action for the files of an archive.
func (x *Expectation) ArchiveAction() func(paths []string) signer.Action { return x.action(archiveKey) }

func archiveKey(name string) nameKey { return nameKey{volume.WholeDisk, name} }

func (x *Expectation) action(key func(string) nameKey) func(paths []string) signer.Action {
	return func(paths []string) signer.Action {
		action := signer.ActionSkip
		for _, name := range paths {
			e, ok := x.entries[key(name)]
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
	c := comparison{x: x, key: func(name string) nameKey { return keyOf(t, name) }, seen: map[nameKey]bool{}}
	for _, f := range findings {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		value, err := t.Label(f.File)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.File.Name(), err)
		}
		c.add(f, value)
	}
	for _, id := range x.gone {
		c.differences = append(c.differences, Difference{Path: t.Join(id, "/"), Kind: Missing})
	}
	return c.result(t.Join), nil
}

// CompareArchive is Compare for the files of an archive, whose findings have the labels.
func (x *Expectation) CompareArchive(findings []*signer.Finding) []Difference {
	c := comparison{x: x, key: archiveKey, seen: map[nameKey]bool{}}
	for _, f := range findings {
		c.add(f, f.Value)
	}
	return c.result(func(_ volume.ID, path string) string { return path })
}

// A comparison finds the differences file by file.
type comparison struct {
	x           *Expectation
	key         func(name string) nameKey
	seen        map[nameKey]bool
	differences []Difference
}

func (c *comparison) add(f *signer.Finding, value []byte) {
	for _, name := range f.File.Paths {
		k := c.key(name)
		c.seen[k] = true
		e, ok := c.x.entries[k]
		if !ok {
			c.differences = append(c.differences, Difference{Path: name, Kind: Additional})
		} else if fields := c.x.changed(e, f, value); len(fields) > 0 {
			c.differences = append(c.differences, Difference{name, Changed, fields})
		}
	}
}

// result adds what was not seen; join makes a name of a volume and a path.
func (c *comparison) result(join func(id volume.ID, path string) string) []Difference {
	for k := range c.x.entries {
		if !c.seen[k] {
			c.differences = append(c.differences, Difference{Path: join(k.partition, k.path), Kind: Missing})
		}
	}
	slices.SortFunc(c.differences, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return c.differences
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
