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

// phase is how far a guest has come. It only ever goes forward.
type phase int

const (
	booting        phase = iota // no policy; nothing from outside the initramfs may run
	policyComplete              // all rules were seen and the kernel may put them in force
	enforcing                   // the policy is in force
	initramfsLeft               // a program from outside was executed: initramfs files count no more
)

var phaseNames = [...]string{"booting", "policy-complete", "enforcing", "initramfs-left"}

// advance notes progress where a successor finds it, before the guest goes on.
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

// Saved is what is known of a guest, and a successor of this process has to know.
type Saved struct {
	Guest string `json:"guest"` // Guest.Identity
	Pins  string `json:"pins"`  // profile, policy and what is asked of the disk: others could not go on
	Slide uint64 `json:"slide"` // how far the kernel lies from where it was linked for
	Phase phase  `json:"phase"` // how far the guest has come
	VCPUs int    `json:"vcpus"` // Guest.Trapped
	Room  bool   `json:"room"`  // the kernel can use more, which may be plugged in
	Disk  uint64 `json:"disk"`  // diskseq of the system's disk; 0 before that is known

	PhysBase uint64          `json:"phys_base"` // of the kernel; 0 before the policy is in force, as the next
	Code     []profile.Bytes `json:"code"`      // digests of what must not change: see watched
}

// State keeps it in a file that only its owner may write. Without a path it keeps
// nothing: a guest without its enforcer then stays frozen for good.
type State struct {
	Path string
	Pins string
}

const maxState = 1 << 16

// Save replaces the file.
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

// Load reads the file, and refuses one that is of another profile or policy.
func (f State) Load() (s Saved, err error) {
	if f.Path == "" {
		return s, errors.New("no state is kept (--state)")
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
		return s, fmt.Errorf("%s: not as it was written", f.Path)
	case s.Pins != f.Pins:
		return s, fmt.Errorf("%s: of another profile, policy, --device, --writable or --no-lockdown", f.Path)
	}
	return s, nil
}

// ErrOthersWrite is given, wrapped, for a file that somebody else than root and the user of
// this process can change.
var ErrOthersWrite = errors.New("other users can write to it")

// ReadFile gives the contents of a regular file of at most max bytes that no other user can
// change. The flags are those of open(2), beside those for reading.
func ReadFile(path string, max int64, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0) // or a pipe would wait for a writer
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
