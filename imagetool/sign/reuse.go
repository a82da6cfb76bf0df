package sign

import (
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

// ReadLabels takes the signatures from a manifest or from an image. What a
// signature in an image signs is computed from it with the public key, so no
// contents are read.
func ReadLabels(ctx context.Context, path string, pub *rsa.PublicKey) (Labels, error) {
	isManifest, err := beginsLikeManifest(path)
	if err != nil {
		return nil, err
	}
	if isManifest {
		return readManifestLabels(ctx, path)
	}
	return readImageLabels(ctx, path, pub)
}

func beginsLikeManifest(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var b [1]byte
	_, err = io.ReadFull(f, b[:])
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[0] == '{', err
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

// add takes the label of a file, if it is a signature that can be one of the key.
func (l Labels) add(t *imagetool.Tree, f *signer.File, pub *rsa.PublicKey) error {
	value, err := t.Label(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", ima.XattrName, err)
	}
	v, err := ima.Parse(value)
	if err != nil || v.Type != ima.Signature || v.Version != 2 {
		return nil
	}
	if digest := signer.Recover(pub, v); digest != nil {
		l[labelKey{string(digest), v.KeyID, v.Hash}] = value
	}
	return nil
}
