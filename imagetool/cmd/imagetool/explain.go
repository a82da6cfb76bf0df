package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	formats "github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/imagetool/kernel"
	"github.com/vmseal/vmseal/signer/cli"
)

// explanation is the "kernel" object: what a profile of a kernel would record of how it was built.
type explanation struct {
	Type             string `json:"type"`
	Kernel           string `json:"kernel"`
	Release          string `json:"release"`
	BuildID          string `json:"build_id"`
	KeepsPolicy      bool   `json:"keeps_policy"`
	ReadPolicy       bool   `json:"ima_read_policy"`
	Lockdown         bool   `json:"lockdown"`
	IBT              bool   `json:"ibt"`
	ModuleDecompress bool   `json:"module_decompress"`
	FileDigest       bool   `json:"version_3_of_files"`
	Functions        int    `json:"functions"`
	Bytes            int    `json:"bytes"`
}

// explain prints what the profile of a kernel says of it, and writes none.
func (f *profileFlags) explain(cmd *cobra.Command, path string) error {
	for _, name := range []string{"out", "policy", "initrd", "key"} {
		if cmd.Flags().Changed(name) {
			return cli.Usagef("--explain writes no profile: leave --%s out", name)
		}
	}
	if err := f.selected.check(cmd); err != nil {
		return err
	}
	k, err := f.read(cmd, path)
	if err != nil {
		return err
	}
	p, err := kernel.Profile(k.Data, kernel.Options{})
	if errors.Is(err, kernel.ErrNoLockdown) {
		p, err = kernel.Profile(k.Data, kernel.Options{NoLockdown: true})
	}
	if err != nil {
		return fmt.Errorf("kernel %s: %w", k.Path, err)
	}
	e, err := newExplanation(k.Path, p)
	if err != nil {
		return fmt.Errorf("kernel %s: %w", k.Path, err)
	}
	out := cli.Out(cmd)
	out.Object(e)
	out.Table(e.rows(p))
	return nil
}

func newExplanation(path string, p *formats.Profile) (explanation, error) {
	build, err := kernel.BuildOf(p)
	e := explanation{
		Type: "kernel", Kernel: cli.Escape(path), Release: cli.Escape(p.Release), BuildID: p.BuildID,
		KeepsPolicy: build.KeepsPolicy, ReadPolicy: build.ReadPolicy, Lockdown: p.Values.LockIntegrity != 0, IBT: build.IBT,
		ModuleDecompress: build.ModuleDecompress, FileDigest: p.Values.DigsigAlgo, Functions: len(p.Code),
	}
	for _, c := range p.Code {
		e.Bytes += int(c.Size)
	}
	return e, err
}

// rows are a name, what the kernel has, and what follows from it.
func (e *explanation) rows(p *formats.Profile) [][]string {
	either := func(is bool, name, yes, meansYes, no, meansNo string) []string {
		if is {
			return []string{name, yes, meansYes}
		}
		return []string{name, no, meansNo}
	}
	rows := [][]string{
		{"kernel", e.Release, "build id " + e.BuildID},
		either(e.KeepsPolicy, "IMA policy file", "stays", "the policy needs a rule for POLICY_CHECK, and the enforcer denies each", "removed", "one policy is loaded, and no other after it"),
		either(e.ReadPolicy, "reading the policy", "yes", "CONFIG_IMA_READ_POLICY: harmless", "no", ""),
		either(e.Lockdown, "lockdown", "yes", "lockdown=integrity on the command line is needed", "none", "a profile only with --no-lockdown: root can change the kernel"),
		either(e.IBT, "indirect branch tracking", "yes", "functions begin with ENDBR64", "no", ""),
		either(e.ModuleDecompress, "unpacking modules", "kernel", "with kmod 31 or newer; an older one unpacks them itself, and IMA sees no file", "kmod", "compressed modules are refused without module.sig_enforce=1"),
		either(e.FileDigest, "signature version 3", "regular files, fs-verity", "", "fs-verity", ""),
		{"code that is watched", fmt.Sprintf("%d functions", e.Functions), fmt.Sprintf("%d bytes", e.Bytes)},
	}
	for _, name := range formats.HookNames {
		rows = append(rows, []string{"intercepted", name, p.Hooks[name].Prototype})
	}
	return rows
}
