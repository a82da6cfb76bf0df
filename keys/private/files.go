package private

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// files are the four files of a new key while they are written.
type files struct {
	dir     string
	madeDir bool
	open    []*os.File // private, certificate, public, trust store
}

// newFiles creates the files. It fails if one of them exists.
func newFiles(dir string) (*files, error) {
	out := &files{dir: dir}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		out.madeDir = true
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	for _, f := range []struct {
		name string
		perm os.FileMode
	}{{PrivateFile, 0o600}, {CertificateFile, 0o644}, {PublicFile, 0o644}, {TrustFile, 0o644}} {
		file, err := os.OpenFile(filepath.Join(dir, f.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.perm)
		if err != nil {
			return nil, errors.Join(err, out.abort())
		}
		out.open = append(out.open, file)
	}
	return out, nil
}

// write writes the contents, in the order of open, and syncs them to disk.
func (out *files) write(contents ...[]byte) error {
	for i, f := range out.open {
		if _, err := f.Write(contents[i]); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	dir, err := os.Open(out.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// abort removes everything that was created.
func (out *files) abort() error {
	var errs []error
	for _, f := range out.open {
		f.Close() // may be closed already
		errs = append(errs, os.Remove(f.Name()))
	}
	if out.madeDir {
		errs = append(errs, os.Remove(out.dir))
	}
	return errors.Join(errs...)
}
