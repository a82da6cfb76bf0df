package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/vmseal/vmseal/formats/profile"
)

// phase is how far the boot of a guest has come. It only goes forward.
type phase int

const (
	booting        phase = iota // no policy yet; nothing outside the initramfs may run
	policyComplete              // all rules were loaded, and the kernel may put them in force
	enforcing                   // the policy is in force
	initramfsLeft               // a program outside the initramfs was executed: from now on initramfs files need signatures
)

var phaseNames = [...]string{"booting", "policy-complete", "enforcing", "initramfs-left"}

// advance saves the new phase for a later take-over, before the guest continues.
func (e *Enforcer) advance(to phase) error {
	e.saved.Phase, e.ran = to, 0
	e.config.Event("the guest is " + phaseNames[to])
	return e.save()
}

func (e *Enforcer) save() error {
	if err := e.config.State.Save(e.saved); err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	return nil
}

// Saved is what a take-over must know of a guest.
type Saved struct {
	Guest   string `json:"guest"` // Guest.Identity
	Pins    string `json:"pins"`  // profile, policy and options that must be the same at a take-over
	Slide   uint64 `json:"slide"` // distance between the kernel's address and its link address
	Phase   phase  `json:"phase"` // see phase
	VCPUs   int    `json:"vcpus"` // Guest.Trapped
	Hotplug bool   `json:"room"`  // the kernel can use more vCPUs, which may be plugged in
	Disk    uint64 `json:"disk"`  // diskseq of the system's disk; 0 before it is known

	PhysBase uint64          `json:"phys_base"` // the kernel's phys_base; 0 before the policy is in force
	Code     []profile.Bytes `json:"code"`      // digests of watched; nil before the policy is in force
}

// State stores a Saved in a file that only its owner may write. With an empty Path it stores
// nothing: then a guest whose enforcer has ended stays frozen.
type State struct {
	Path string
	Pins string
}

const maxState = 1 << 16

// Save replaces the file atomically.
func (f State) Save(s Saved) error {
	if f.Path == "" {
		return nil
	}
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

// Load reads the file. It fails if the state was saved with another profile, policy or option.
func (f State) Load() (s Saved, err error) {
	if f.Path == "" {
		return s, errors.New("no state was kept (--state)")
	}
	text, err := ReadFile(f.Path, maxState, syscall.O_NOFOLLOW)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %w", f.Path, err)
	}
	again, err := json.Marshal(s)
	switch {
	case err != nil || string(again)+"\n" != string(text) || s.Phase < booting || s.Phase > initramfsLeft:
		return s, fmt.Errorf("%s: the file is damaged", f.Path)
	case s.Pins != f.Pins:
		return s, fmt.Errorf("%s: saved with another profile, policy, --device, --writable or --no-lockdown", f.Path)
	}
	return s, nil
}

// ErrOthersWrite is wrapped by the error for a file that users other than root and the user of this
// process can change.
var ErrOthersWrite = errors.New("other users can write to it")

// ReadFile returns the contents of a regular file of at most max bytes that no other user can
// change. flags are further flags for open(2).
func ReadFile(path string, max int64, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0) // O_NONBLOCK: opening a pipe must not wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if mode := info.Mode().Perm(); mode&0o022 != 0 || owner != 0 && int(owner) != os.Geteuid() {
		return nil, fmt.Errorf("%s: %w: it belongs to user %d and has mode %04o", path, ErrOthersWrite, owner, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(text)) > max {
		err = fmt.Errorf("%s: more than %d bytes", path, max)
	}
	return text, err
}
