package ext4

import (
	"errors"
	"fmt"
)

// ErrNotExt says that there is no ext2, ext3 or ext4 superblock.
var ErrNotExt = errors.New("not an ext2, ext3 or ext4 file system")

// ErrEVM says that a file carries security.evm, which a new security.ima value
// would invalidate. EditOptions.DropEVM removes it instead.
var ErrEVM = errors.New("file has a security.evm value, which covers security.ima")

// A RefusedError says why a file system is not read or written although it is
// an ext file system, and what a person can do about it.
type RefusedError struct {
	Reason string
	Hint   string // may be empty
}

func (e *RefusedError) Error() string { return e.Reason }

// Advice is the hint.
func (e *RefusedError) Advice() string { return e.Hint }

func refuse(hint, format string, args ...any) *RefusedError {
	return &RefusedError{Reason: fmt.Sprintf(format, args...), Hint: hint}
}

// A command in a hint stands between single quotes, and works as it stands there, with
// FILESYSTEM for the file system.
const (
	hintFsck    = "on a copy of the image, 'e2fsck -fy FILESYSTEM' mends it"
	hintRecover = "it was not unmounted cleanly: on a copy of the image, 'e2fsck -fy FILESYSTEM' does what mounting it would; " +
		"but if 'imagetool sign --in-place' was cut short, under another name of the image, 'imagetool recover --log LOG IMAGE' has to come first"
)

// incurable is damaged, for what e2fsck does not mend: it sees nothing wrong, or gives up.
func incurable(format string, args ...any) *RefusedError {
	return refuse("", format, args...)
}

// damaged reports metadata that contradicts itself or its checksum.
func damaged(format string, args ...any) *RefusedError {
	return refuse(hintFsck, format, args...)
}
