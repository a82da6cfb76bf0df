package fsys

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/undo"
)

// ErrEVM says that a file has a security.evm value, which a new security.ima would
// invalidate. EditOptions.DropEVM removes it instead.
var ErrEVM = errors.New("file has a security.evm value, which covers security.ima")

// AdvicePlace stands for the file system in the commands that a refusal advises: its name
// depends on where in the image it lies.
const AdvicePlace = "FILESYSTEM"

// A Driver knows one family of file systems.
type Driver interface {
	// Describe tells what a superblock says. It refuses no more than it must: what
	// keeps Open from going on is among the problems.
	Describe(dev block.Device) (*Info, error)

	// Open opens the file system of a device, unless reading on could give a wrong
	// answer.
	Open(dev block.Device) (FileSystem, error)
}

// Info is what a superblock says about a file system.
type Info struct {
	Kind       string // "ext4"
	UUID       string
	Label      string
	BlockSize  int
	InodeSize  int
	Blocks     uint64
	FreeBlocks uint64
	Inodes     uint64
	FreeInodes uint64
	Features   []string
	Problems   []string
}

// A FileSystem never changes after it was opened, and may be used by several goroutines
// at once.
type FileSystem interface {
	Info() *Info

	// Writable says why nothing may be written to it, although it can be read; nil if
	// there is no such reason.
	Writable() error

	// Check checks all of the file system and lists its regular files.
	Check(ctx context.Context) (Listing, error)

	// Lookup finds a file by its path as lstat(2) would, Follow as stat(2) would:
	// symbolic links lead nowhere but inside of the file system.
	Lookup(path string) (Inode, error)
	Follow(path string) (Inode, error)

	// Inode finds a file by its number, as a DirEntry has it.
	Inode(number uint64) (Inode, error)

	ReadDir(dir Inode) ([]DirEntry, error)
	Readlink(link Inode) (string, error)

	// Open gives the contents of a regular file.
	Open(file Inode) (Contents, error)

	// Xattr gives the value of one extended attribute and whether it is there, Xattrs
	// all of them, sorted by name.
	Xattr(in Inode, name string) (value []byte, ok bool, err error)
	Xattrs(in Inode) ([]Xattr, error)
}

// An Inode is a file of one file system, which can be asked for the rest of it.
type Inode interface {
	Stat() Stat
}

// Contents are an io.Reader for one user and an io.ReaderAt for any number.
type Contents interface {
	io.Reader
	io.ReaderAt
}

// A DirEntry is one name in a directory, never "." or "..".
type DirEntry struct {
	Name  string // raw bytes
	Inode uint64
}

// An Xattr is one extended attribute under its full name.
type Xattr struct {
	Name  string // such as "security.ima"
	Value []byte
}

// A Listing is a file system of which every part was found to agree with the others.
type Listing interface {
	// Files gives the regular files in the order in which they are best read.
	Files() iter.Seq[File]

	// Edit begins to stage labels.
	Edit(EditOptions) (Edit, error)
}

// A File is one regular file with all its names.
type File struct {
	Inode Inode
	Paths []string // sorted, from the root, as "/etc/passwd"; raw bytes
	EVM   bool     // it has security.evm
}

// EditOptions say what changes besides the labels.
type EditOptions struct {
	// Time becomes the ctime of every inode that changes. Nil leaves it alone.
	Time *time.Time
	// DropEVM removes security.evm from the files that get a label.
	DropEVM bool
}

// An Edit has labels that are staged in memory. It belongs to one goroutine.
type Edit interface {
	// SetIMA stages the value of security.ima for a regular file, in place of the one
	// that it has.
	SetIMA(file Inode, value []byte) error

	// NewBlocks is how many blocks the staged values need and how many are free.
	NewBlocks() (needed, free uint64, err error)

	// Prepare decides where everything goes. It writes nothing.
	Prepare() (Transaction, error)
}

// A Transaction is an Edit that is planned to the last byte.
type Transaction interface {
	// Empty reports whether there is nothing to write.
	Empty() bool

	// Blocks are all blocks that Commit writes, each of them once. Offsets count from
	// the beginning of the file system.
	Blocks() iter.Seq2[undo.Block, error]

	// Commit writes them, in an order in which nobody takes a half written file system
	// for a good one, and has read all of them back. The device must hold what the file
	// system was opened on. A failure leaves it in any state in between.
	Commit(ctx context.Context, dev block.Device) error
}
