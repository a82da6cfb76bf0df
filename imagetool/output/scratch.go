package output

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Scratch makes a file without a name in the folder of another one, where there is as
// much room and the blocks can be shared. It is gone when it is closed, or its process
// ends; only who is killed between two system calls leaves a hidden file behind.
func Scratch(beside string) (*os.File, error) {
	hidden := filepath.Join(filepath.Dir(beside), ".vmseal-"+rand.Text()+".tmp")
	f, err := os.OpenFile(hidden, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a scratch file beside %s: %w", beside, errors.Unwrap(err))
	}
	if err := os.Remove(hidden); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
