package imagetool

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/imagetool/fsys"
)

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
	if !in.Stat().IsRegular() || in.Stat().Size > maxSmallFile {
		return nil, nil
	}
	c, err := s.Open(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b := make([]byte, in.Stat().Size)
	if _, err := c.ReadAt(b, 0); err != nil && len(b) > 0 {
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
		entries, err := s.entries(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name, "vmlinuz-") {
				found = append(found, path.Join(dir, e.Name))
			}
		}
	}
	modules, err := s.besideModules("/usr/lib/modules")
	return append(found, modules...), err
}

// besideModules lists the kernels that lie in folders of a directory, as
// "6.1.0/vmlinuz". Each is looked at where it is: looking it up by its path would
// list the directory anew for each.
func (s *FileSystem) besideModules(dir string) (found []string, err error) {
	releases, err := s.entries(dir)
	if err != nil {
		return nil, err
	}
	for _, r := range releases {
		in, err := s.Inode(r.Inode)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, r.Name), err)
		}
		if !in.Stat().IsDir() {
			continue
		}
		entries, err := s.ReadDir(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, r.Name), err)
		}
		for _, e := range entries {
			if e.Name != "vmlinuz" {
				continue
			}
			if in, err := s.Inode(e.Inode); err == nil && in.Stat().IsRegular() {
				found = append(found, path.Join(dir, r.Name, e.Name))
			}
		}
	}
	return found, nil
}

// entries lists a directory, sorted by name; a missing one is empty.
func (s *FileSystem) entries(dir string) ([]fsys.DirEntry, error) {
	in, err := s.Follow(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !in.Stat().IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	entries, err := s.ReadDir(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	slices.SortFunc(entries, func(a, b fsys.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}
