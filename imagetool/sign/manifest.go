package sign

import (
	"context"
	"encoding/hex"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/manifest"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/signer"
)

// A manifestFile is a manifest in the making. A nil one stands for none.
type manifestFile struct {
	out    *output.File
	header manifest.Header
}

// createManifest starts the manifest, if one is wanted: the digest of the image
// before is the one that it has while nothing is written to it.
func createManifest(ctx context.Context, image target, o *Options) (*manifestFile, error) {
	if o.Manifest == "" {
		return nil, nil
	}
	before, err := image.SHA256(ctx)
	if err != nil {
		return nil, err
	}
	f, err := newManifest(o)
	if err != nil {
		return nil, err
	}
	f.header.ImageBefore = hex.EncodeToString(before)
	return f, nil
}

func newManifest(o *Options) (*manifestFile, error) {
	out, err := output.Create(o.Manifest, 0o666, o.Force)
	if err != nil {
		return nil, err
	}
	return &manifestFile{out, manifest.Header{Tool: o.Tool, KeyID: o.KeyID.String(), Hash: o.Hash.String()}}, nil
}

func (f *manifestFile) write(ctx context.Context, image target, t *imagetool.Tree, r *signer.Report) error {
	if f == nil {
		return nil
	}
	after, err := image.SHA256(ctx)
	if err != nil {
		return err
	}
	f.header.ImageAfter = hex.EncodeToString(after)
	f.header.Filesystems = filesystemsOf(t)
	return f.writeEntries(entriesOf(t, r))
}

// writeEntries writes all of it. The entries need not be in order.
func (f *manifestFile) writeEntries(entries []manifest.Entry) error {
	slices.SortFunc(entries, manifest.Compare)
	if !slices.ContainsFunc(entries, func(e manifest.Entry) bool { return e.Label == manifest.LabelSignature }) {
		f.header.KeyID = ""
	}
	f.header.Entries = len(entries)
	w, err := manifest.NewWriter(f.out, f.header)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			return err
		}
	}
	return w.Close()
}

// outputs is what has to be committed along with the image.
func (f *manifestFile) outputs() []*output.File {
	if f == nil {
		return nil
	}
	return []*output.File{f.out}
}

func (f *manifestFile) abort() error {
	if f == nil {
		return nil
	}
	return f.out.Abort()
}

// filesystems lists the file systems as a manifest's header does.
func filesystemsOf(t *imagetool.Tree) []manifest.Filesystem {
	var list []manifest.Filesystem
	for _, s := range t.Systems() {
		list = append(list, manifest.Filesystem{Partition: s.Volume.ID, UUID: s.Info().UUID})
	}
	return list
}

// entriesOf makes the lines of a manifest, one for each name.
func entriesOf(t *imagetool.Tree, r *signer.Report) []manifest.Entry {
	var entries []manifest.Entry
	for i := range r.Records {
		rec := &r.Records[i]
		entries = appendEntries(entries, rec, t.System(rec.File), t.Plain(rec.File.Paths))
	}
	return entries
}

// appendEntries adds the lines for one file.
func appendEntries(entries []manifest.Entry, rec *signer.Record, system int, paths []string) []manifest.Entry {
	f := rec.File
	e := manifest.Entry{
		Filesystem: system, Inode: f.Inode, Size: f.Size, Mode: f.Mode, UID: f.UID, GID: f.GID, Links: f.Links,
		Digest: hex.EncodeToString(rec.Digest), Value: hex.EncodeToString(rec.Value),
	}
	e.Label, e.KeyID = labelKind(rec.Value)
	for _, p := range paths {
		e.Path = p
		entries = append(entries, e)
	}
	return entries
}

// labelKind names the kind of a label that Sign made or kept.
func labelKind(value []byte) (kind, keyID string) {
	if value == nil {
		return manifest.LabelNone, ""
	}
	v, err := ima.Parse(value)
	if err == nil && v.IsSignature() {
		return manifest.LabelSignature, v.KeyID.String()
	}
	return manifest.LabelDigest, ""
}
