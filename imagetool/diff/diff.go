package diff

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
)

// ErrNothingInCommon says that no file system of one image has a counterpart in the
// other.
var ErrNothingInCommon = errors.New("no partition has a file system in both images")

// Options tell Images what to do.
type Options struct {
	Trust       *keys.TrustStore // says what labels are worth; may be nil
	AllowSparse bool             // read files that are far larger than their file system
	Jobs        int              // as for signer.Verify
	Progress    func(signer.Progress)

	// Result is called for each name that is not the same in both images, a
	// directory before what is in it. An error ends the run.
	Result func(*Change) error
}

// A Change is one name that is not the same in both images.
type Change struct {
	Path   string   // with the number of the partition, where there are several
	Kind   string   // Added, Removed or Changed
	Fields []string // what was changed, of the Field constants

	Attributes []string // with FieldAttributes: their names
	Old, New   *Node    // nil if there is none
}

// Kinds of Change.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Fields of a Change.
const (
	FieldType       = "type"       // another kind of file; nothing else is compared then
	FieldContent    = "content"    // of a regular file, by digest
	FieldTarget     = "target"     // of a symbolic link
	FieldDevice     = "device"     // of a device node
	FieldLabel      = "label"      // the value of security.ima
	FieldKey        = "key"        // the key that the labels of both name
	FieldMode       = "mode"       // permissions, setuid, setgid and sticky bits
	FieldOwner      = "owner"      // or group
	FieldLinks      = "links"      // the number of names of a regular file
	FieldAttributes = "attributes" // extended ones other than security.ima
)

// contentHash is what contents are compared by, whatever labels say.
const contentHash = crypto.SHA256

// Images compares two images name by name. File systems are matched by the number of
// their partition, and one that only one image has is added or removed as a whole.
// What labels claim is not believed: the contents of all files are read.
func Images(ctx context.Context, before, after *imagetool.Image, o Options) error {
	pairs := pair(before, after)
	if !slices.ContainsFunc(pairs, func(p systemPair) bool { return p.old != nil && p.new != nil }) {
		return ErrNothingInCommon
	}
	d := &differ{ctx: ctx, opt: o, numbered: len(pairs) > 1}
	var err error
	if d.old, err = d.examine(before); err != nil {
		return err
	}
	if d.new, err = d.examine(after); err != nil {
		return err
	}
	for _, p := range pairs {
		if err := d.systems(p); err != nil {
			return err
		}
	}
	return nil
}

// A systemPair is a file system in both images, or in one.
type systemPair struct {
	old, new *imagetool.FileSystem
}

// pair matches file systems, in the order of their volumes.
func pair(before, after *imagetool.Image) []systemPair {
	byID := map[volume.ID]*systemPair{}
	var ids []volume.ID
	at := func(s *imagetool.FileSystem) *systemPair {
		id := s.Volume.ID
		if byID[id] == nil {
			byID[id] = &systemPair{}
			ids = append(ids, id)
		}
		return byID[id]
	}
	for _, s := range before.Systems {
		at(s).old = s
	}
	for _, s := range after.Systems {
		at(s).new = s
	}
	slices.SortFunc(ids, volume.Compare)
	var pairs []systemPair
	for _, id := range ids {
		pairs = append(pairs, *byID[id])
	}
	return pairs
}

// A differ is one run of Images.
type differ struct {
	ctx      context.Context
	opt      Options
	numbered bool // paths have the number of the partition in front
	old, new examined
}

// examined is what reading all files of an image has brought.
type examined map[inodeKey]*Examined

type inodeKey struct {
	partition volume.ID
	inode     uint64
}

// Examined is what is to be known of a regular file besides its inode.
type Examined struct {
	Contents []byte          // digest by SHA-256
	Finding  *signer.Finding // without its files and the value of the label
}

// examine reads every file, in disk order.
func (d *differ) examine(m *imagetool.Image) (examined, error) {
	t, all := m.Tree(fsys.EditOptions{}), examined{}
	if !d.opt.AllowSparse {
		t.Bound(func([]string) signer.Action { return signer.ActionSign })
	}
	_, err := signer.Verify(d.ctx, t, d.opt.Trust, signer.VerifyOptions{
		Contents: contentHash, Jobs: d.opt.Jobs, Progress: d.opt.Progress,
		Result: func(f *signer.Finding) error {
			inode := inodeKey{t.Systems()[t.System(f.File)].Volume.ID, f.File.Inode}
			kept := *f
			kept.Value, kept.File, kept.Twin = nil, nil, nil // they would hold the whole list in memory
			all[inode] = &Examined{f.Contents, &kept}
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Path(), err)
	}
	return all, nil
}
