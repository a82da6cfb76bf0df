package container

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Overlay starts a daemon that reads the container, and writes to a file that is made a
// qcow2 image over it.
func (c *Container) Overlay(ctx context.Context, file *os.File) (*Disk, error) {
	if c.Backing != "" {
		// Needed: the copy would have all that is in the backing file, too.
		return nil, refuse("merge it with its backing file first", "%s, and a copy that is made anew would be an overlay no more", c.Convert)
	}
	size := strconv.FormatInt(c.Size, 10)
	if err := qemuImg(ctx, []*os.File{file}, "create", "-q", "-f", "qcow2", "/proc/self/fd/3", size); err != nil {
		return nil, err
	}
	h := &Header{Format: QCOW2, Size: c.Size}
	return openDisk("the copy of "+c.file.Name(), h, append([]node{{QCOW2, file}}, c.chain(c.file.Opened())...), true)
}

// Rewrite makes of a container and of an overlay over it a container of the same kind, in
// an empty file that will have the name.
func (c *Container) Rewrite(ctx context.Context, overlay, out *os.File, name string) error {
	source, files := sourceOf(append([]node{{QCOW2, overlay}}, c.chain(c.file.Opened())...), []*os.File{out})
	d, err := c.descriptor()
	if err != nil {
		return err
	}
	args := []string{"convert", "-q", "-O", string(VMDK), "-o", "subformat=" + c.Sub + d.options(), source, "/proc/self/fd/3"}
	if err := qemuImg(ctx, files, args...); err != nil {
		return err
	}
	return nameExtent(out, filepath.Base(name))
}

// options are those of qemu-img for what the descriptor says of the machine.
func (d descriptor) options() (options string) {
	for _, o := range []struct{ name, value, want string }{
		{"adapter_type", d.values["ddb.adapterType"], "ide|lsilogic|buslogic|legacyESX"},
		{"hwversion", d.values["ddb.virtualHWVersion"], "[0-9]{1,3}"},
	} {
		if regexp.MustCompile("^(" + o.want + ")$").MatchString(o.value) {
			options += "," + o.name + "=" + o.value
		}
	}
	return options
}

// nameExtent corrects the name of the file in the descriptor, which qemu-img knows under
// another one.
func nameExtent(f *os.File, name string) error {
	b := make([]byte, vmdkHeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	at, n := int64(le.Uint64(b[28:])*vmdkSector), le.Uint64(b[36:])*vmdkSector
	if string(b[:4]) != "KDMV" || n > vmdkMaxDescriptor {
		return errors.New("qemu-img has not made a VMDK of it")
	}
	text := make([]byte, n)
	if _, err := f.ReadAt(text, at); err != nil {
		return err
	}
	old, new := []byte(`SPARSE "3"`), []byte(`SPARSE "`+strings.Map(plain, name)+`"`)
	changed := bytes.TrimRight(bytes.Replace(text, old, new, 1), "\x00")
	if len(changed) > len(text) {
		return nil // it goes by any name
	}
	clear(text)
	copy(text, changed)
	_, err := f.WriteAt(text, at)
	return err
}

// plain leaves out what would end the name in a descriptor.
func plain(r rune) rune {
	if r == '"' || r < ' ' {
		return '_'
	}
	return r
}
