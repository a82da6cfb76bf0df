package verify

import (
	"context"
	"errors"
	"io"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
)

// File checks the label of one regular file, which should be a signature. The error is
// for a file that cannot be read.
func File(ctx context.Context, s *imagetool.FileSystem, in fsys.Inode, name string, trust *keys.TrustStore) (*signer.Finding, error) {
	var finding *signer.Finding
	_, err := signer.Verify(ctx, oneFile{s, in, name}, trust, signer.VerifyOptions{
		Jobs:   1,
		Result: func(f *signer.Finding) error { finding = f; return nil },
	})
	return finding, err
}

// oneFile is a tree that has only one file, and is only read.
type oneFile struct {
	system *imagetool.FileSystem
	inode  fsys.Inode
	name   string
}

func (t oneFile) Files(context.Context) ([]signer.File, error) {
	in := t.inode.Stat()
	return []signer.File{{Paths: []string{t.name}, Inode: in.Number, Size: in.Size, Mode: in.Mode, UID: in.UID, GID: in.GID, Links: in.Links}}, nil
}

func (t oneFile) Open(*signer.File) (io.ReadCloser, error) {
	c, err := t.system.Open(t.inode)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(c), nil
}

func (t oneFile) Label(*signer.File) ([]byte, error) {
	value, ok, err := t.system.Xattr(t.inode, ima.XattrName)
	if ok && value == nil {
		value = []byte{} // there, if empty
	}
	return value, err
}

var errReadOnly = errors.New("a file that is looked at gets no label")

func (oneFile) SetLabel(*signer.File, []byte) error { return errReadOnly }
func (oneFile) Commit(context.Context) error        { return errReadOnly }
