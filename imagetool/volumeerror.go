package imagetool

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
)

// A VolumeError is what went wrong with one volume of an image.
type VolumeError struct {
	Volume disk.Volume
	Err    error
}

func (e *VolumeError) Error() string { return fmt.Sprintf("%s: %v", e.Volume, e.Err) }

// Unwrap gives what went wrong.
func (e *VolumeError) Unwrap() error { return e.Err }

// Advice is that of the file system, if it has any, with the name by which e2fsprogs know
// a file system in a disk image.
func (e *VolumeError) Advice() string {
	refused, ok := errors.AsType[interface {
		error
		Advice() string
	}](e.Err)
	if !ok {
		return ""
	}
	name := "IMAGE"
	switch {
	case len(e.Volume.Segments) > 1:
		return "" // e2fsprogs have no name for it
	case e.Volume.Start > 0:
		name = fmt.Sprintf(`"IMAGE?offset=%d"`, e.Volume.Start)
	}
	return strings.ReplaceAll(refused.Advice(), fsys.AdvicePlace, name)
}
