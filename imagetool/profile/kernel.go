package profile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/kernel"
)

// ErrNoKernel says that there is no kernel where kernels lie.
var ErrNoKernel = errors.New("no kernel in /boot, in /usr/lib/modules or at the root of a file system")

// A ManyKernelsError says that it is not clear which kernel is meant.
type ManyKernelsError struct {
	Found []string // their paths
}

func (e *ManyKernelsError) Error() string {
	more := ""
	found := e.Found
	if n := len(found) - maxKernels; n > 0 {
		found, more = found[:maxKernels], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("there are %d kernels: %s%s", len(e.Found), strings.Join(found, ", "), more)
}

// A Kernel is a file with a kernel in it.
type Kernel struct {
	Path string // in an image with several file systems, with the number of the partition
	Data []byte
}

// FindKernel reads the kernel that a guest boots: the one with this path, or for ""
// the only one. Of several it is the one that has the name to which a symbolic
// link /vmlinuz points, as Debian keeps it; else none, since whatever boots the
// guest might choose any of them. Files with the same contents count as one.
func FindKernel(m *imagetool.Image, name string) (*Kernel, error) {
	if name != "" {
		s, name, err := m.Find(name)
		if err != nil {
			return nil, err
		}
		k, err := findKernel(m, s, name)
		if err != nil {
			return nil, err
		}
		return k.read()
	}
	found, err := kernels(m)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, ErrNoKernel
	case len(found) == 1:
		return found[0].read()
	}
	k, err := linkedKernel(m, found)
	if err != nil {
		return nil, err
	}
	return k.read()
}

// A foundKernel is a kernel that was not read yet.
type foundKernel struct {
	path string
	size int64
	fsys.Contents
}

// maxKernels is more than any guest has, and few enough to read them all.
const maxKernels = 32

// kernels lists the distinct kernels.
func kernels(m *imagetool.Image) ([]*foundKernel, error) {
	var all []*foundKernel
	seen := map[[sha256.Size]byte]bool{}
	for _, s := range m.Systems {
		names, err := s.Kernels()
		if err != nil {
			return nil, err
		}
		if len(names) > maxKernels {
			return nil, &ManyKernelsError{names}
		}
		for _, name := range names {
			k, err := findKernel(m, s, name)
			if err != nil {
				return nil, err
			}
			sum, err := k.digest()
			if err != nil {
				return nil, err
			}
			if !seen[sum] {
				seen[sum] = true
				all = append(all, k)
			}
		}
	}
	return all, nil
}

// linkedKernel chooses by the link. Only the last part of its target counts: the
// rest leads to a file system that may be mounted there.
func linkedKernel(m *imagetool.Image, found []*foundKernel) (*foundKernel, error) {
	var chosen []*foundKernel
	for _, s := range m.Systems {
		in, err := s.Lookup("/vmlinuz")
		if errors.Is(err, fs.ErrNotExist) || err == nil && !in.Stat().IsSymlink() {
			continue
		}
		if err != nil {
			return nil, err
		}
		target, err := s.Readlink(in)
		if err != nil {
			return nil, fmt.Errorf("/vmlinuz: %w", err)
		}
		for _, k := range found {
			if path.Base(k.path) == path.Base(target) {
				chosen = append(chosen, k)
			}
		}
	}
	if len(chosen) == 1 {
		return chosen[0], nil
	}
	e := new(ManyKernelsError)
	for _, k := range found {
		e.Found = append(e.Found, k.path)
	}
	return nil, e
}

func findKernel(m *imagetool.Image, s *imagetool.FileSystem, name string) (*foundKernel, error) {
	in, err := s.Follow(name)
	if err != nil {
		return nil, err
	}
	if !in.Stat().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	// A kernel has no holes: one that is larger than its file system is a trick.
	if in.Stat().Size > min(kernel.MaxSize, s.Volume.Size) {
		return nil, fmt.Errorf("%s: %w", name, kernel.ErrTooLarge)
	}
	c, err := s.Open(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(m.Systems) > 1 {
		name = fmt.Sprintf("%s:%s", s.Volume.ID, name)
	}
	return &foundKernel{name, in.Stat().Size, c}, nil
}

func (k *foundKernel) digest() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(k, 0, k.size)); err != nil {
		return sum, fmt.Errorf("%s: %w", k.path, err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

func (k *foundKernel) read() (*Kernel, error) {
	data := make([]byte, k.size)
	if _, err := io.ReadFull(io.NewSectionReader(k, 0, k.size), data); err != nil {
		return nil, fmt.Errorf("%s: %w", k.path, err)
	}
	return &Kernel{k.path, data}, nil
}
