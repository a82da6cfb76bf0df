package stream

import (
	"context"
	"io"

	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/signer"
)

// A single is one member as a signer.Tree.
type single struct {
	member *archive.Member
	file   signer.File
	data   func() (io.Reader, error) // of the member, from its beginning
	label  func() ([]byte, error)
	value  []byte // what was set
}

var _ signer.Tree = (*single)(nil)

func (t *single) Files(context.Context) ([]signer.File, error) { return []signer.File{t.file}, nil }

func (t *single) Open(*signer.File) (io.ReadCloser, error) {
	data, err := t.data()
	if err != nil {
		return nil, err
	}
	contents, err := t.member.Contents(data)
	return io.NopCloser(contents), err
}

func (t *single) Label(*signer.File) ([]byte, error) { return t.label() }

func (t *single) SetLabel(_ *signer.File, value []byte) error {
	t.value = value
	return nil
}

func (t *single) Commit(context.Context) error { return nil }
