package imagetool

import (
	"fmt"

	"github.com/vmseal/vmseal/imagetool/disk"
)

// Space is what the labels need in one file system.
type Space struct {
	Volume    disk.Volume
	BlockSize int
	Needed    uint64 // new blocks
	Free      uint64
}

// Space counts what the staged labels need. A file system that is too full for them is a
// *NoSpaceError.
func (t *Tree) Space() ([]Space, error) {
	var spaces []Space
	for i, e := range t.edits {
		s := t.systems[i]
		needed, free, err := e.NewBlocks()
		if err != nil {
			return nil, &VolumeError{s.Volume, err}
		}
		spaces = append(spaces, Space{s.Volume, s.Info().BlockSize, needed, free})
		if needed > free {
			return spaces, &NoSpaceError{spaces[len(spaces)-1]}
		}
	}
	return spaces, nil
}

// NoSpaceError says that a file system is too full for the labels.
type NoSpaceError struct {
	Space
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("%s: the labels need %d new blocks of %d bytes, but %d are free",
		e.Volume, e.Needed, e.BlockSize, e.Free)
}
