package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Saved is what a successor of this process has to know of a guest.
type Saved struct {
	Guest string `json:"guest"` // Guest.Identity
	Pins  string `json:"pins"`  // profile and policy: others could not go on
	Slide uint64 `json:"slide"`
	Phase phase  `json:"phase"`
}

// State keeps it.
type State interface {
	Save(Saved) error
	Load() (Saved, error)
}

// NoState keeps nothing: a guest without its enforcer stays frozen for good.
type NoState struct{}

func (NoState) Save(Saved) error { return nil }

func (NoState) Load() (Saved, error) { return Saved{}, errors.New("no state is kept (--state)") }

// FileState keeps it in a file that only its owner may write.
type FileState struct {
	Path string
	Pins string
}

const maxState = 1 << 12

// Save replaces the file.
func (f FileState) Save(s Saved) error {
	s.Pins = f.Pins
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.Path), ".vmseal-*.tmp") // 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(text, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), f.Path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// Load reads the file, and refuses one that others could have written, or that is
// of another profile or policy.
func (f FileState) Load() (s Saved, err error) {
	info, err := os.Lstat(f.Path)
	if err != nil {
		return s, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || info.Size() > maxState {
		return s, fmt.Errorf("%s: not a file that only its owner can write", f.Path)
	}
	text, err := os.ReadFile(f.Path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %w", f.Path, err)
	}
	if s.Pins != f.Pins {
		return s, fmt.Errorf("%s: of another profile or policy", f.Path)
	}
	return s, nil
}
