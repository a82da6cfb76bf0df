package hostfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vmseal/vmseal/imagetool/undo"
)

// UndoSuffix is added to the name of an image for that of its undo log.
const UndoSuffix = ".vmseal-undo"

// UndoPath is where the undo log of an image is: beside it, or for a block device
// in a folder of its own, since /dev does not outlive the machine. It fails
// if there is no image.
func UndoPath(image string) (string, error) {
	real, err := filepath.EvalSymlinks(image)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	if info.Mode()&os.ModeDevice == 0 {
		return real + UndoSuffix, nil
	}
	name, err := deviceName(real)
	if err != nil {
		return "", err
	}
	return filepath.Join(StateFolder(), name+UndoSuffix), nil
}

// checkPending looks for an undo log.
func checkPending(image string) error {
	log, err := UndoPath(image)
	if err != nil {
		return err
	}
	return CheckLog(image, log)
}

// CheckLog looks for the undo log of an image where it would be.
func CheckLog(image, log string) error {
	switch _, err := os.Lstat(log); {
	case err == nil:
		return &undo.PendingError{Path: image, Log: log}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("looking for an undo log of %s: %w", image, err)
	}
	return nil
}
