package imagetool

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/manifest"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/signer"
)

// A digester is an image, or its copy, as it is now.
type digester interface {
	SHA256(ctx context.Context) ([]byte, error)
}

// A manifestFile is a manifest in the making. A nil one stands for none.
type manifestFile struct {
	out    *output.File
	header manifest.Header
}

// createManifest starts the manifest, if one is wanted: the digest of the image
// before is the one that it has while nothing is written to it.
func createManifest(ctx context.Context, image digester, o *SignOptions) (*manifestFile, error) {
	if o.Manifest == "" {
		return nil, nil
	}
	before, err := image.SHA256(ctx)
	if err != nil {
		return nil, err
	}
	out, err := output.Create(o.Manifest, 0o666, o.Force)
	if err != nil {
		return nil, err
	}
	return &manifestFile{out, manifest.Header{
		Tool:        o.Tool,
		ImageBefore: hex.EncodeToString(before),
		KeyID:       o.KeyID.String(),
		Hash:        o.Hash.String(),
	}}, nil
}

func (f *manifestFile) write(ctx context.Context, image digester, t *Tree, r *signer.Report) error {
	if f == nil {
		return nil
	}
	after, err := image.SHA256(ctx)
	if err != nil {
		return err
	}
	f.header.ImageAfter = hex.EncodeToString(after)
	entries := t.entries(r)
	if !slices.ContainsFunc(entries, func(e manifest.Entry) bool { return e.Label == manifest.LabelSignature }) {
		f.header.KeyID = ""
	}
	f.header.Filesystems, f.header.Entries = t.filesystems(), len(entries)
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
func (t *Tree) filesystems() []manifest.Filesystem {
	var list []manifest.Filesystem
	for _, s := range t.systems {
		list = append(list, manifest.Filesystem{Partition: s.Volume.Number, UUID: s.Info().UUID})
	}
	return list
}

// entries makes the lines of a manifest, one for each name, in their order.
func (t *Tree) entries(r *signer.Report) []manifest.Entry {
	var entries []manifest.Entry
	for i := range r.Records {
		rec := &r.Records[i]
		e := entryOf(rec.File)
		e.Digest = hex.EncodeToString(rec.Digest)
		e.Value = hex.EncodeToString(rec.Value)
		e.Label, e.KeyID = labelKind(rec.Value)
		e.Filesystem = rec.File.Ref.(ref).system
		for _, p := range t.Plain(rec.File.Paths) {
			e.Path = p
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, manifest.Compare)
	return entries
}

// entryOf is what a manifest says of a file besides its label.
func entryOf(f *signer.File) manifest.Entry {
	return manifest.Entry{Inode: f.Inode, Size: f.Size, Mode: f.Mode, UID: f.UID, GID: f.GID, Links: f.Links}
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

// samePath reports whether two names, of which neither need exist, are the same.
func samePath(a, b string) bool {
	if filepath.Base(a) != filepath.Base(b) {
		return false
	}
	x, errX := os.Stat(filepath.Dir(a))
	y, errY := os.Stat(filepath.Dir(b))
	return errX == nil && errY == nil && os.SameFile(x, y)
}
