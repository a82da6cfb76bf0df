package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/vmseal/vmseal/imagetool"
)

// ErrNoInitrd says that no initrd lies where distributions keep that of a kernel.
var ErrNoInitrd = errors.New("no initrd of this kernel")

// initrdNames are what distributions call the initrd of a kernel: Debian, Fedora and its kin, SUSE, Alpine.
var initrdNames = []string{"initrd.img-%s", "initramfs-%s.img", "initrd-%s", "initramfs-%s"}

// FindInitrd gives the path of the initrd that belongs to a kernel of the image, by the kernel's name: beside it, or in
// /boot of the same file system.
func FindInitrd(m *imagetool.Image, kernel string) (string, error) {
	s, name, err := m.Find(kernel)
	if err != nil {
		return "", err
	}
	release, ok := strings.CutPrefix(path.Base(name), "vmlinuz-")
	if !ok {
		release = path.Base(path.Dir(name)) // /usr/lib/modules/RELEASE/vmlinuz
	}
	var found []string
	for _, dir := range []string{path.Dir(name), "/boot"} {
		for _, form := range initrdNames {
			p := path.Join(dir, fmt.Sprintf(form, release))
			in, err := s.Follow(p)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return "", err
			case in.Stat().IsRegular():
				found = append(found, p)
			}
		}
		if len(found) > 0 {
			break
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s: %w", kernel, ErrNoInitrd)
	case 1:
		return strings.TrimSuffix(kernel, name) + found[0], nil
	}
	return "", fmt.Errorf("%s: there are %d initrds of this kernel: %s", kernel, len(found), strings.Join(found, ", "))
}

// RootUUID gives the UUID of the one file system of the image with an operating system on it, "" if that is not clear.
func RootUUID(m *imagetool.Image) (string, error) {
	uuid := ""
	for _, s := range m.Systems {
		os, err := s.OS()
		if err != nil {
			return "", err
		}
		if os == "" {
			continue
		}
		if uuid != "" {
			return "", nil
		}
		uuid = s.Info().UUID
	}
	return uuid, nil
}
