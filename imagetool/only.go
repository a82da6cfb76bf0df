package imagetool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/signer"
)

// fileKey is one inode of the tree.
type fileKey struct {
	system int
	inode  uint64
}

// Only makes Files list no more than the regular files that the names stand for, and
// those below the folders that they stand for. Names are as for Image.Find, and symbolic
// links are followed.
func (t *Tree) Only(ctx context.Context, m *Image, names []string) error {
	t.only = map[fileKey]bool{}
	for _, name := range names {
		s, p, err := m.Find(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		in, err := s.Follow(p)
		if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == p {
			err = e.Err // the name says as much
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		st := in.Stat()
		system := slices.Index(t.systems, s)
		switch {
		case st.IsRegular():
			t.only[fileKey{system, st.Number}] = true
		case st.IsDir():
			if err := t.addBelow(ctx, system, p, in); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: %s: only regular files have signatures", name, st.Kind())
		}
	}
	return nil
}

// addBelow walks a folder. A damaged file system may have a ring of folders: each is
// walked once.
func (t *Tree) addBelow(ctx context.Context, system int, name string, dir fsys.Inode) error {
	type folder struct {
		name string
		dir  fsys.Inode
	}
	s, seen := t.systems[system], map[uint64]bool{dir.Stat().Number: true}
	for queue := []folder{{name, dir}}; len(queue) > 0; queue = queue[1:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := s.ReadDir(queue[0].dir)
		if err != nil {
			return fmt.Errorf("%s: %w", queue[0].name, err)
		}
		for _, e := range entries {
			name := path.Join(queue[0].name, e.Name)
			in, err := s.Inode(e.Inode)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			switch st := in.Stat(); {
			case st.IsRegular():
				t.only[fileKey{system, st.Number}] = true
			case st.IsDir() && !seen[st.Number]:
				seen[st.Number] = true
				queue = append(queue, folder{name, in})
			}
		}
	}
	return nil
}

// Single is the tree of one regular file. The rest of its file system is not checked.
func (s *FileSystem) Single(name string, in fsys.Inode) signer.Tree {
	t := &Tree{systems: []*FileSystem{s}}
	return &single{t, t.file(0, fsys.File{Inode: in, Paths: []string{name}})}
}

type single struct {
	*Tree
	file signer.File
}

func (t *single) Files(context.Context) ([]signer.File, error) { return []signer.File{t.file}, nil }

func (t *single) SetLabel(*signer.File, []byte) error {
	return errors.New("the file is open for reading only")
}
