package profile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/policy"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/imagetool/kernel"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/signer"
)

// A Sealed is the profile of a kernel and the signed file that it is written to.
type Sealed struct {
	Kernel  string // where it comes from: a path in an image, or the name of a file
	Profile *profile.Profile
	File    []byte
}

// A Boot is what a kernel is booted with.
type Boot struct {
	Policy     *policy.Policy // that it is to load
	Initrd     []byte         // the digest of the initrd; nil if that is not known
	NoLockdown bool           // the kernel does not need to be locked down
}

// ErrPolicyStays is given, wrapped, for a kernel that takes more rules than those of its policy.
var ErrPolicyStays = errors.New("it keeps IMA's file of the policy (CONFIG_IMA_WRITE_POLICY or CONFIG_IMA_READ_POLICY), " +
	"and the policy does not appraise every file for POLICY_CHECK: root could add rules that nobody has looked at")

// Seal makes and signs the profile of a kernel that is booted so. Of the options Key and
// KeyID count; the hash of profiles is fixed.
func Seal(k *Kernel, boot Boot, o signer.Options) (*Sealed, error) {
	p, err := kernel.Profile(k.Data, kernel.Options{NoLockdown: boot.NoLockdown})
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", k.Path, err)
	}
	build, err := kernel.BuildOf(p)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", k.Path, err)
	}
	if build.KeepsPolicy && slices.Contains(boot.Policy.Unappraised(), profile.FuncPolicy) {
		return nil, fmt.Errorf("kernel %s: %w", k.Path, ErrPolicyStays)
	}
	p.Policy, p.Initrd = boot.Policy.Rules(), boot.Initrd
	text, err := p.Marshal()
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", k.Path, err)
	}
	o.Hash = ima.SHA256
	labels, err := signer.NewLabeller(o)
	if err != nil {
		return nil, err
	}
	label, err := labels.Label(profile.Digest(text))
	if err != nil {
		return nil, fmt.Errorf("profile of kernel %s: %w", k.Path, err)
	}
	file := fmt.Appendf(nil, "%ssignature %x\n", text, label)
	if len(file) > profile.MaxSize {
		return nil, fmt.Errorf("profile of kernel %s: %d bytes, at most %d are allowed", k.Path, len(file), profile.MaxSize)
	}
	return &Sealed{k.Path, p, file}, nil
}

// Output begins a file with the profile, which Commit completes.
func (s *Sealed) Output(path string, force bool) (*output.File, error) {
	out, err := output.Create(path, 0o644, force) // the enforcer takes none that a group may write
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(s.File); err != nil {
		return nil, errors.Join(err, out.Abort())
	}
	return out, nil
}

// Write puts the profile into a file.
func (s *Sealed) Write(path string, force bool) error {
	out, err := s.Output(path, force)
	if err != nil {
		return err
	}
	return output.Commit(nil, out)
}

// ReadKernel reads a kernel that is a file of its own. For anything else, an image
// for instance, the result is nil.
func ReadKernel(path string) (*Kernel, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, kernel.HeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if !kernel.Recognize(head[:n]) {
		return nil, nil
	}
	data, err := io.ReadAll(io.NewSectionReader(f, 0, kernel.MaxSize+1))
	if err != nil {
		return nil, err
	}
	return &Kernel{path, data}, nil
}
