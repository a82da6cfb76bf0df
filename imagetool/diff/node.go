package diff

import (
	"bytes"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
)

// A Node is what a name stands for in one image.
type Node struct {
	fsys.Stat
	*Examined               // of a regular file
	Target     string       // of a symbolic link
	Label      []byte       // security.ima, nil if there is none
	Attributes []fsys.Xattr // the others, sorted by name

	inode fsys.Inode
}

func newNode(s *imagetool.FileSystem, number uint64) (*Node, error) {
	in, err := s.Inode(number)
	if err != nil {
		return nil, err
	}
	n := &Node{Stat: in.Stat(), inode: in}
	if n.IsSymlink() {
		if n.Target, err = s.Readlink(in); err != nil {
			return nil, err
		}
	}
	if n.Attributes, err = s.Xattrs(in); err != nil {
		return nil, err
	}
	isIMA := func(x fsys.Xattr) bool { return x.Name == ima.XattrName }
	if i := slices.IndexFunc(n.Attributes, isIMA); i >= 0 {
		n.Label = append([]byte{}, n.Attributes[i].Value...)
		n.Attributes = slices.Delete(n.Attributes, i, i+1)
	}
	return n, nil
}

// KeyID is the key that the label names, if it is a signature that names one.
func (n *Node) KeyID() (id ima.KeyID, ok bool) {
	v, err := ima.Parse(n.Label)
	if err != nil || !v.IsSignature() || v.Version == 1 {
		return id, false
	}
	return v.KeyID, true
}

// perm are the bits of st_mode that chmod(2) sets.
const perm = 0o7777

// compare finds the fields that differ.
func (c *Change) compare() {
	old, new := c.Old, c.New
	differs := func(field string, is bool) {
		if is {
			c.Fields = append(c.Fields, field)
		}
	}
	if old.Mode&^perm != new.Mode&^perm {
		c.Fields = []string{FieldType}
		return
	}
	if old.IsRegular() {
		differs(FieldContent, !bytes.Equal(old.Contents, new.Contents))
	}
	differs(FieldTarget, old.Target != new.Target)
	differs(FieldDevice, old.Major != new.Major || old.Minor != new.Minor)
	differs(FieldLabel, !bytes.Equal(old.Label, new.Label) || (old.Label == nil) != (new.Label == nil))
	oldKey, oldOK := old.KeyID()
	newKey, newOK := new.KeyID()
	differs(FieldKey, oldOK && newOK && oldKey != newKey)
	differs(FieldMode, old.Mode != new.Mode)
	differs(FieldOwner, old.UID != new.UID || old.GID != new.GID)
	differs(FieldLinks, old.IsRegular() && old.Links != new.Links)
	c.Attributes = differing(old.Attributes, new.Attributes)
	differs(FieldAttributes, len(c.Attributes) > 0)
}

// differing names the attributes that are not the same in both lists.
func differing(old, new []fsys.Xattr) (names []string) {
	for len(old) > 0 || len(new) > 0 {
		switch {
		case len(new) == 0 || len(old) > 0 && old[0].Name < new[0].Name:
			names, old = append(names, old[0].Name), old[1:]
		case len(old) == 0 || new[0].Name < old[0].Name:
			names, new = append(names, new[0].Name), new[1:]
		default:
			if !bytes.Equal(old[0].Value, new[0].Value) {
				names = append(names, old[0].Name)
			}
			old, new = old[1:], new[1:]
		}
	}
	return names
}
