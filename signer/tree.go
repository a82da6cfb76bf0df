package signer

import (
	"context"
	"fmt"
	"io"
)

// File is one regular file: one inode, however many names it has.
type File struct {
	// Paths are all names of the inode that the tree knows, sorted, raw bytes.
	// In an image they begin at the root of the file system; in a mounted
	// directory the name of the directory leads.
	Paths []string

	Inode uint64
	Size  int64
	Mode  uint32 // st_mode
	UID   uint32
	GID   uint32
	Links uint32 // may exceed len(Paths): names outside of the tree

	// Ref is for the tree: whatever it needs to find the file again.
	Ref any
}

// Name is the first of the file's paths, by which it is reported.
func (f *File) Name() string {
	if len(f.Paths) == 0 {
		return fmt.Sprintf("<inode %d>", f.Inode)
	}
	return f.Paths[0]
}

// Tree is the set of regular files of one file system.
//
// Every *File that a method receives points into the slice that Files returned.
type Tree interface {
	// Files lists each inode once, in the order in which contents are best
	// read. An *IncompleteError says that the list is good as far as it goes.
	Files(ctx context.Context) ([]File, error)

	// Open gives the contents. It may be called concurrently.
	Open(f *File) (io.ReadCloser, error)

	// Label gives the present value of security.ima, nil if there is none. It
	// may be called concurrently.
	Label(f *File) ([]byte, error)

	// SetLabel sets the value, or stages it until Commit. It is called from one
	// goroutine at a time, at most once for a file and in the order of Files,
	// while other goroutines read.
	SetLabel(f *File, value []byte) error

	// Commit makes everything that was set durable, and has read it back. It is
	// called once, last, and not at all after a fatal error.
	Commit(ctx context.Context) error
}

// Failure is what went wrong with one file or directory.
type Failure struct {
	Path string
	Err  error
}

func (f Failure) Error() string { return fmt.Sprintf("%s: %v", f.Path, f.Err) }
func (f Failure) Unwrap() error { return f.Err }

// IncompleteError is returned by Tree.Files beside a list that lacks something,
// such as the files of a directory that could not be read.
type IncompleteError struct {
	Failures []Failure
}

func (e *IncompleteError) Error() string {
	if len(e.Failures) == 1 {
		return fmt.Sprintf("listing files: %v", e.Failures[0])
	}
	return fmt.Sprintf("listing files: %v, and %d more", e.Failures[0], len(e.Failures)-1)
}

func (e *IncompleteError) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		errs[i] = f
	}
	return errs
}

// FatalError marks an error that one file met but that is no fault of that file,
// such as a file system without extended attributes: work ends at once, even
// when it was told to keep going. A tree whose labels do not wait for Commit
// gives it only while none is set, since a run that ends so has no report.
type FatalError struct {
	Err error
}

func (e *FatalError) Error() string { return e.Err.Error() }
func (e *FatalError) Unwrap() error { return e.Err }
