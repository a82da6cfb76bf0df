package imagetool

import (
	"errors"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
)

// ErrWhichPartition says that a path could mean more than one file system.
var ErrWhichPartition = errors.New("the image has several file systems, and it is not clear which one is meant")

// Find tells the file system and the path in it that a name stands for. A name
// may begin with the number of a partition ("2:/etc") or the name of a logical volume
// ("vg/root:/etc"); without one it means the
// only file system, or else the only one with an operating system on it.
func (m *Image) Find(name string) (*FileSystem, string, error) {
	if front, rest, ok := strings.Cut(name, ":"); ok && strings.HasPrefix(rest, "/") {
		if id, err := volume.Parse(front); err == nil {
			for _, s := range m.Systems {
				if s.Volume.ID == id {
					return s, rest, nil
				}
			}
			return nil, "", &NoFileSystemError{m.Path(), id, m.layout.Volumes}
		}
	}
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	if len(m.Systems) == 1 {
		return m.Systems[0], name, nil
	}
	var root *FileSystem
	for _, s := range m.Systems {
		os, err := s.OS()
		if err != nil {
			return nil, "", err
		}
		if os == "" {
			continue
		}
		if root != nil {
			return nil, "", ErrWhichPartition
		}
		root = s
	}
	if root == nil {
		return nil, "", ErrWhichPartition
	}
	return root, name, nil
}
