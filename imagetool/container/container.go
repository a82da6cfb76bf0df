package container

import (
	"errors"
	"fmt"
	"os"

	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/hostfile"
)

// A Container is an open image and what its header says. Of a raw image that is its size.
type Container struct {
	*Header
	file  *hostfile.File
	bases []*Container // in the order of the chain
}

// Open reads the headers of an image and of its backing files, which have to be named in
// order. The format is what a person says, or "" for what name and magic number say. If
// the image is refused (a *disk.RefusedError), its format is there as far as it is known.
func Open(f *hostfile.File, said Format, backing []string) (*Container, error) {
	c, err := openOne(f, said)
	if err != nil {
		return c, err
	}
	for last := c; len(backing) > 0; backing = backing[1:] {
		if last.Backing == "" {
			// Needed: what was said is not so.
			return c, errors.Join(refuse("--backing is for images that are nothing without another file",
				"%s has no backing file, and %s is named as one", last.file.Name(), backing[0]), c.Close())
		}
		base, err := openBase(backing[0], last.BackingFormat)
		if err != nil {
			return c, errors.Join(aboutBase(backing[0], err), c.Close())
		}
		c.bases, last = append(c.bases, base), base
	}
	if last := c.last(); last.Backing != "" {
		// Needed: no file is opened that was not named.
		return c, errors.Join(refuse("name its backing files with --backing FILE, that of the image first, then the backing file's own",
			"%s is nothing without its backing file %q, which was not named", last.file.Name(), last.Backing), c.Close())
	}
	return c, nil
}

// aboutBase says that an error is about a backing file.
func aboutBase(path string, err error) error {
	if refused, ok := errors.AsType[*disk.RefusedError](err); ok {
		// Needed: as the reason says.
		return refuse(refused.Hint, "backing file %s: %s", path, refused.Reason)
	}
	return fmt.Errorf("backing file %s: %w", path, err)
}

func (c *Container) last() *Container {
	if len(c.bases) == 0 {
		return c
	}
	return c.bases[len(c.bases)-1]
}

func openOne(f *hostfile.File, said Format) (*Container, error) {
	format, err := identify(f, said)
	if err != nil {
		return &Container{Header: &Header{Format: format}, file: f}, err
	}
	h, err := readHeader(f, format)
	if err != nil {
		return &Container{Header: &Header{Format: format}, file: f}, err
	}
	return &Container{Header: h, file: f}, nil
}

// openBase opens a backing file and keeps writers away from it.
func openBase(path string, said Format) (*Container, error) {
	f, err := hostfile.Open(path)
	if err != nil {
		return nil, err
	}
	c, err := openOne(f, said)
	if err == nil {
		err = f.Lock(hostfile.ForReading)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return c, nil
}

// CheckOutput refuses an output that would replace a backing file.
func (c *Container) CheckOutput(target os.FileInfo) error {
	for _, base := range c.bases {
		if same, err := base.file.Is(target); same || err != nil {
			return errors.Join(fmt.Errorf("output %s is a backing file of the image", base.file.Name()), err)
		}
	}
	return nil
}

// Close releases the backing files. The image itself is its owner's.
func (c *Container) Close() (err error) {
	for _, base := range c.bases {
		err = errors.Join(err, base.file.Close())
	}
	c.bases = nil
	return err
}

// Disk starts a daemon that reads the guest's disk.
func (c *Container) Disk() (*Disk, error) {
	return openDisk(c.file.Name(), c.Header, c.chain(c.file.Opened()), false)
}

// Scratch starts a daemon that reads and writes a copy of the container's file. What the
// container has from other files stays there.
func (c *Container) Scratch(file *os.File) (*Disk, error) {
	return openDisk("the copy of "+c.file.Name(), c.Header, c.chain(file), true)
}

func (c *Container) chain(top *os.File) []node {
	list := []node{{c.Format, top}}
	for _, base := range c.bases {
		list = append(list, node{base.Format, base.file.Opened()})
	}
	return list
}
