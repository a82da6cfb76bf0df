package hosttree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/signer"
)

// What may be told apart to say what can be done about it.
var (
	ErrPrivilege   = errors.New("no privilege to set security.ima")
	ErrImmutable   = errors.New("file is immutable or append-only")
	ErrUnsupported = errors.New("file system has no security attributes")
	// ErrOnlyReadable is EROFS for a kind of file system that is never written to.
	ErrOnlyReadable = fmt.Errorf("file system is of a kind that is never written to: %w", unix.EROFS)
	ErrChanged      = errors.New("changed or replaced since it was listed")
)

// open opens what lies below the root, come what may: no link is followed, and
// no mount crossed unless it lies on the file that was named. A device or FIFO
// that took the place of a file does not block.
func (r *root) open(rel string, flags uint64) (*os.File, error) {
	how := &unix.OpenHow{
		Flags:   flags | unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	if r.only == "" {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	for {
		fd, err := unix.Openat2(int(r.dir.Fd()), rel, how)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), rel), nil
	}
}

// open opens a file and makes sure that it is the one that was listed.
func open(f *signer.File) (*os.File, *node, error) {
	n := f.Ref.(*node)
	file, err := n.root.open(n.rel, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENXIO) {
		return nil, nil, fmt.Errorf("%w (%w)", ErrChanged, err)
	}
	if err != nil {
		return nil, nil, err
	}
	st, err := statAt(file, "")
	if err == nil && (!st.isRegular() || st.inode != n.stat.inode || !st.unchanged(n.stat)) {
		err = ErrChanged
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, n, nil
}

// Open opens the contents.
func (t *Tree) Open(f *signer.File) (io.ReadCloser, error) {
	file, _, err := open(f)
	if err != nil {
		return nil, err // not a nil *os.File in an interface
	}
	return file, nil
}

// Label reads security.ima.
func (t *Tree) Label(f *signer.File) ([]byte, error) {
	file, _, err := open(f)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	value, err := get(file)
	if errors.Is(err, ErrUnsupported) {
		return nil, t.rootError(f.Ref.(*node).root, err)
	}
	return value, err
}

func get(file *os.File) ([]byte, error) {
	value, err := xattr.FGet(file, ima.XattrName)
	switch {
	case errors.Is(err, xattr.ENOATTR):
		return nil, nil
	case errors.Is(err, unix.ENOTSUP):
		return nil, ErrUnsupported
	case err != nil:
		return nil, errno(err)
	}
	if value == nil {
		value = []byte{} // there is a label, if an empty one
	}
	return value, nil
}

// SetLabel sets security.ima and reads it back.
func (t *Tree) SetLabel(f *signer.File, value []byte) error {
	file, n, err := open(f)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := xattr.FSet(file, ima.XattrName, value); err != nil {
		return t.setError(n.root, file, err)
	}
	t.mu.Lock()
	if !slices.Contains(t.dirty, n.root) {
		t.dirty = append(t.dirty, n.root)
	}
	t.mu.Unlock()
	if n.root.only != "" && n.stat.mountPoint {
		// Commit reaches the file system of the directory alone.
		if err := file.Sync(); err != nil {
			return err
		}
	}
	got, err := get(file)
	if err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	if !bytes.Equal(got, value) {
		return errors.New("reading back: the file system gives another value than was set")
	}
	return nil
}

// setError tells what is wrong with one file from what is wrong with all.
func (t *Tree) setError(r *root, file *os.File, err error) error {
	switch {
	case errors.Is(err, unix.EPERM) && immutable(file):
		return ErrImmutable
	case errors.Is(err, unix.EPERM):
		return t.fatal(ErrPrivilege)
	case errors.Is(err, unix.ENOTSUP):
		return t.rootError(r, ErrUnsupported)
	case errors.Is(err, unix.EROFS) && onlyReadable(file):
		return t.rootError(r, ErrOnlyReadable)
	case errors.Is(err, unix.EROFS):
		return t.rootError(r, unix.EROFS)
	}
	return errno(err)
}

// onlyReadable reports whether the file system is of a kind that nobody can write to,
// however it is mounted.
func onlyReadable(file *os.File) bool {
	const erofs, iso9660, romfs = 0xe0f5e1e2, 0x9660, 0x7275 // include/uapi/linux/magic.h
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return false
	}
	return slices.Contains([]int64{unix.SQUASHFS_MAGIC, erofs, iso9660, romfs, unix.CRAMFS_MAGIC}, int64(st.Type))
}

// rootError is for what is wrong with all files of a root. The run goes on as
// long as another root may do better.
func (t *Tree) rootError(r *root, err error) error {
	t.mu.Lock()
	t.failed[r] = true
	last := len(t.failed) == len(t.roots)
	t.mu.Unlock()
	if !last {
		return err
	}
	return t.fatal(err)
}

// fatal makes an error end the run, unless there are labels to be told of and
// made durable.
func (t *Tree) fatal(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.dirty) > 0 {
		return err
	}
	return &signer.FatalError{Err: err}
}

// Flags of FS_IOC_GETFLAGS (include/uapi/linux/fs.h).
const (
	immutableFlag = 0x10 // FS_IMMUTABLE_FL
	appendFlag    = 0x20 // FS_APPEND_FL
)

func immutable(file *os.File) bool {
	flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	return err == nil && flags&(immutableFlag|appendFlag) != 0
}

// errno leaves out what the caller knows: operation, path and attribute.
func errno(err error) error {
	if x, ok := errors.AsType[*xattr.Error](err); ok {
		return x.Err
	}
	return err
}
