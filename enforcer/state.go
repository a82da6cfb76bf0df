package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
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
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return s, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return s, err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || owner != 0 && int(owner) != os.Geteuid() {
		return s, fmt.Errorf("%s: not a file of ours that nobody else can write", f.Path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxState))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %w", f.Path, err)
	}
	if again, err := json.Marshal(s); err != nil || string(again)+"\n" != string(text) {
		return s, fmt.Errorf("%s: not as it was written", f.Path)
	}
	if s.Pins != f.Pins {
		return s, fmt.Errorf("%s: of another profile or policy", f.Path)
	}
	return s, nil
}
