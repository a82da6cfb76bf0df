package imagetool

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vmseal/vmseal/imagetool/ext4"
)

// ErrWhichPartition says that a path could mean more than one file system.
var ErrWhichPartition = errors.New("the image has several file systems, and it is not clear which one is meant")

// Find tells the file system and the path in it that a name stands for. A name
// may begin with the number of a partition ("2:/etc"); without one it means the
// only file system, or else the only one with an operating system on it.
func (m *Image) Find(name string) (*FileSystem, string, error) {
	if number, rest, ok := strings.Cut(name, ":"); ok && strings.HasPrefix(rest, "/") {
		if n, err := strconv.Atoi(number); err == nil {
			for _, s := range m.Systems {
				if s.Partition.Number == n {
					return s, rest, nil
				}
			}
			return nil, "", &NoFileSystemError{m.Disk.Path(), n, m.Disk.Partitions()}
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

// maxLinks bounds a chain of symbolic links, as MAXSYMLINKS of the kernel does.
const maxLinks = 40

// Follow finds an inode by its path, as stat(2) would: a symbolic link at the end
// is followed too, inside the file system.
func (s *FileSystem) Follow(name string) (*ext4.Inode, error) {
	for range maxLinks {
		in, err := s.Lookup(name)
		if err != nil || !in.IsSymlink() {
			return in, err
		}
		target, err := s.Readlink(in)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(target, "/") {
			// Not path.Join: what ".." means is for Lookup to find out.
			name = strings.TrimRight(name, "/")
			target = name[:strings.LastIndexByte(name, '/')+1] + target
		}
		name = target
	}
	return nil, fmt.Errorf("%s: too many symbolic links", name)
}

// maxSmallFile is more than any file has that readSmall is for.
const maxSmallFile = 1 << 20

// readSmall reads a whole file; a missing one is empty.
func (s *FileSystem) readSmall(name string) ([]byte, error) {
	in, err := s.Follow(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !in.IsRegular() || in.Size > maxSmallFile {
		return nil, nil
	}
	c, err := s.Contents(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b := make([]byte, in.Size)
	if _, err := c.ReadAt(b, 0); err != nil && in.Size > 0 {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// OS names the operating system by os-release(5), "" if there is none.
func (s *FileSystem) OS() (string, error) {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		text, err := s.readSmall(name)
		if err != nil {
			return "", err
		}
		if os := prettyName(string(text)); os != "" {
			return os, nil
		}
	}
	return "", nil
}

// prettyName reads PRETTY_NAME, else NAME, without being a shell.
func prettyName(text string) string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		values[key] = value
	}
	if pretty := values["PRETTY_NAME"]; pretty != "" {
		return pretty
	}
	return values["NAME"]
}

// Kernels lists the paths of kernels: in /boot, or at the root of a partition
// that is mounted there, and beside their modules.
func (s *FileSystem) Kernels() ([]string, error) {
	var found []string
	for _, dir := range []string{"/boot", "/"} {
		names, err := s.names(dir)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if strings.HasPrefix(n, "vmlinuz-") {
				found = append(found, path.Join(dir, n))
			}
		}
	}
	const modules = "/usr/lib/modules"
	names, err := s.names(modules)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		kernel := path.Join(modules, n, "vmlinuz")
		if in, err := s.Lookup(kernel); err == nil && in.IsRegular() {
			found = append(found, kernel)
		}
	}
	return found, nil
}

// names lists a directory, sorted; a missing one is empty.
func (s *FileSystem) names(dir string) ([]string, error) {
	in, err := s.Follow(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !in.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	entries, err := s.ReadDir(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	slices.Sort(names)
	return names, nil
}
