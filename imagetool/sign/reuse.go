package sign

import (
	"bufio"
	"context"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/manifest"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/signer"
)

// Labels are signatures of an earlier build, by what they sign. It is a
// signer.Reuse, and package signer verifies each before it is used.
type Labels map[labelKey][]byte

type labelKey struct {
	digest string
	id     ima.KeyID
	hash   ima.HashID
}

// Value finds the label for a digest.
func (l Labels) Value(digest []byte, id ima.KeyID, hash ima.HashID) ([]byte, bool) {
	value, ok := l[labelKey{string(digest), id, hash}]
	return value, ok
}

// ReadLabels takes the signatures from a manifest, an archive or an image. What a
// signature in either of these signs is computed from it with the public key, so no
// contents are read.
func ReadLabels(ctx context.Context, path string, pub *rsa.PublicKey) (Labels, error) {
	head, err := readHead(path)
	switch {
	case err != nil:
		return nil, err
	case len(head) > 0 && head[0] == '{':
		return readManifestLabels(ctx, path)
	case archive.Recognize(head):
		return readArchiveLabels(ctx, path, pub)
	}
	return readImageLabels(ctx, path, pub)
}

// readHead gives the beginning of a regular file.
func readHead(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, archive.BlockSize)
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

func readManifestLabels(ctx context.Context, path string) (Labels, error) {
	file, err := input.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := manifest.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	labels := Labels{}
	for e, err := range r.Entries() {
		if err == nil {
			err = labels.addEntry(e)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return labels, nil
}

// addEntry takes the label of a manifest's entry, if that is a signature.
func (l Labels) addEntry(e manifest.Entry) error {
	if e.Label != manifest.LabelSignature || e.Digest == "" {
		return nil
	}
	// The reader has checked that both are hexadecimal.
	digest, _ := hex.DecodeString(e.Digest)
	value, _ := hex.DecodeString(e.Value)
	v, err := ima.Parse(value)
	if err != nil {
		return err
	}
	l[labelKey{string(digest), v.KeyID, v.Hash}] = value
	return nil
}

func readImageLabels(ctx context.Context, path string, pub *rsa.PublicKey) (Labels, error) {
	img, err := imagetool.Open(ctx, path, imagetool.All, imagetool.ForReading)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	t := img.Tree(fsys.EditOptions{})
	files, err := t.Files(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	labels := Labels{}
	for i := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := labels.add(t, &files[i], pub); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, files[i].Name(), err)
		}
	}
	return labels, nil
}

// add takes the label of a file.
func (l Labels) add(t *imagetool.Tree, f *signer.File, pub *rsa.PublicKey) error {
	value, err := t.Label(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", ima.XattrName, err)
	}
	l.addValue(value, pub)
	return nil
}

// addValue takes a label, if it is a signature that can be one of the key.
func (l Labels) addValue(value []byte, pub *rsa.PublicKey) {
	v, err := ima.Parse(value)
	if err != nil || v.Type != ima.Signature || v.Version != 2 {
		return
	}
	if digest := signer.Recover(pub, v); digest != nil {
		l[labelKey{string(digest), v.KeyID, v.Hash}] = value
	}
}

func readArchiveLabels(ctx context.Context, path string, pub *rsa.PublicKey) (Labels, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	labels := Labels{}
	r := archive.NewReader(bufio.NewReader(f))
	for {
		m, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return labels, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case m.IsFile():
			labels.addValue(m.Plain(), pub)
		}
	}
}
