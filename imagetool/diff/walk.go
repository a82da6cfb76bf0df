package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
)

// systems walks down both trees of names at once. The directories above a name are
// all that is held in memory.
func (d *differ) systems(p systemPair) error {
	top := &level{}
	if s := cmp.Or(p.old, p.new); d.numbered {
		top.path = fmt.Sprintf("%s:", s.Volume.ID)
	}
	var err error
	if top.old, err = root(p.old); err != nil {
		return err
	}
	if top.new, err = root(p.new); err != nil {
		return err
	}
	for stack := []*level{top}; len(stack) > 0; {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		here := stack[len(stack)-1]
		path, old, new, ok := here.next()
		if !ok {
			stack = stack[:len(stack)-1]
			continue
		}
		below, err := d.name(p, path, old, new)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if below != nil {
			stack = append(stack, below)
		}
	}
	return nil
}

// root is the level above the root directory, which has no name.
func root(s *imagetool.FileSystem) ([]fsys.DirEntry, error) {
	if s == nil {
		return nil, nil
	}
	in, err := s.Lookup("/")
	if err != nil {
		return nil, err
	}
	return []fsys.DirEntry{{Inode: in.Stat().Number}}, nil
}

// A level is a directory of both trees, with the names in it that are still to come.
type level struct {
	path     string
	old, new []fsys.DirEntry // sorted by name
}

// next takes the next name, and the entries that bear it.
func (l *level) next() (path string, old, new *fsys.DirEntry, ok bool) {
	if len(l.old) > 0 && (len(l.new) == 0 || l.old[0].Name <= l.new[0].Name) {
		old = &l.old[0]
	}
	if len(l.new) > 0 && (len(l.old) == 0 || l.new[0].Name <= l.old[0].Name) {
		new = &l.new[0]
	}
	if old != nil {
		l.old = l.old[1:]
	}
	if new != nil {
		l.new = l.new[1:]
	}
	e := cmp.Or(old, new)
	if e == nil {
		return "", nil, nil, false
	}
	return strings.TrimSuffix(l.path, "/") + "/" + e.Name, old, new, true
}

// name compares what a name stands for, and gives the level below it.
func (d *differ) name(p systemPair, path string, old, new *fsys.DirEntry) (*level, error) {
	c := &Change{Path: path}
	below := &level{path: path}
	var err error
	if c.Old, below.old, err = d.node(p.old, d.old, old); err != nil {
		return nil, err
	}
	if c.New, below.new, err = d.node(p.new, d.new, new); err != nil {
		return nil, err
	}
	switch {
	case c.Old == nil:
		c.Kind = Added
	case c.New == nil:
		c.Kind = Removed
	default:
		c.Kind = Changed
		c.compare()
	}
	if c.Kind != Changed || len(c.Fields) > 0 {
		if err := d.opt.Result(c); err != nil {
			return nil, err
		}
	}
	if len(below.old) == 0 && len(below.new) == 0 {
		return nil, nil
	}
	return below, nil
}

// node reads what an entry stands for and, of a directory, what is in it.
func (d *differ) node(s *imagetool.FileSystem, all examined, e *fsys.DirEntry) (*Node, []fsys.DirEntry, error) {
	if e == nil {
		return nil, nil, nil
	}
	n, err := newNode(s, e.Inode)
	if err != nil {
		return nil, nil, err
	}
	n.Examined = all[inodeKey{s.Volume.ID, e.Inode}]
	if n.IsRegular() && n.Examined == nil {
		return nil, nil, fmt.Errorf("inode %d was not examined", e.Inode)
	}
	if !n.IsDir() {
		return n, nil, nil
	}
	entries, err := s.ReadDir(n.inode)
	slices.SortFunc(entries, func(a, b fsys.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return n, entries, err
}
