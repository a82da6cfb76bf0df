package main

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/imagetool/archive/stream"
	"github.com/vmseal/vmseal/imagetool/verify"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
	"github.com/vmseal/vmseal/signer/rules"
)

// An archiveVerification is one run of verify on an archive.
type archiveVerification struct {
	*verifyFlags
	src    *archiveSource
	only   *selection
	rules  *rules.Rules
	expect *verify.Expectation           // nil without a manifest
	names  stream.Names[*signer.Finding] // with a manifest
}

// runArchive takes what was loaded for an image as well.
func (f *verifyFlags) runArchive(cmd *cobra.Command, src *archiveSource, names []string, rs *rules.Rules, trust *keys.TrustStore, start time.Time) error {
	if err := refuseFlags(cmd, ofImages); err != nil {
		return err
	}
	if src.file != nil {
		if err := src.file.Lock(imagetool.ForReading); err != nil {
			return err
		}
	}
	v := &archiveVerification{verifyFlags: f, src: src, only: newSelection(names), rules: rs}
	if f.manifest != "" {
		var err error
		if v.expect, err = verify.ReadArchive(cmd.Context(), f.manifest); err != nil {
			return err
		}
	}
	if err := v.do(cmd, trust, start); err != nil {
		return fmt.Errorf("%s: %w", src.path, err)
	}
	return nil
}

func (v *archiveVerification) do(cmd *cobra.Command, trust *keys.TrustStore, start time.Time) error {
	out := cli.Out(cmd)
	see, covered := v.verifyFlags.rules.Checked(out, v.rules)
	update, done := out.Progress()
	defer done()
	directories := cli.NewDirectories(v.depth)
	o := stream.VerifyOptions{AllowSparse: v.sparse, Only: v.only.has}
	o.Action, o.Progress = v.rules.Action, v.src.measured(update)
	if v.expect != nil {
		o.Action = v.expect.ArchiveAction()
	}
	o.Result = func(f *signer.Finding) error {
		see(f.File.Name())
		out.Finding(f, v.all)
		directories.Add(f)
		if v.expect != nil {
			v.names.Add(f.File, f)
		}
		return nil
	}
	o.Other = func(m *archive.Member) {
		v.only.other(m)
		if m.IsHardLink() {
			see(m.Path())
		}
		if v.expect != nil {
			v.names.Other(m)
		}
	}
	report, err := stream.Verify(cmd.Context(), v.src, trust, o)
	if err != nil {
		return err
	}
	done()
	if err := v.only.missing(); err != nil {
		return err
	}
	if len(v.only.names) == 0 {
		if err := covered(); err != nil {
			return err
		}
	}
	if v.depth > 0 {
		out.Directories(directories)
	}
	return v.report(out, report, time.Since(start))
}

func (v *archiveVerification) report(out *cli.Output, report *signer.VerifyReport, took time.Duration) error {
	s := verifySummary{VerifySummary: cli.NewVerifySummary(report, took), LeftOut: leftOut(nil).objects()}
	if v.expect != nil {
		var findings []*signer.Finding
		for _, f := range v.names.Files() {
			findings = append(findings, f.Of)
		}
		s.count(out, v.expect.CompareArchive(findings))
	}
	out.Object(s)
	out.Infof("%s\n", s.Text())
	if err := cli.VerifyResult(report); err != nil {
		return err
	}
	if n := s.differences(); n > 0 {
		return cli.Incompletef("%s from the manifest", cli.Count(n, "difference"))
	}
	return nil
}

// A selection is the PATHs that were named: files and folders. Without any, everything is
// selected.
type selection struct {
	names map[string]bool   // and whether anything was found below it
	links map[string]string // hard links that were named, and what they lead to
}

func newSelection(names []string) *selection {
	s := &selection{names: map[string]bool{}, links: map[string]string{}}
	for _, name := range names {
		s.names[path.Clean("/"+name)] = false
	}
	return s
}

// has reports whether a file is selected, and takes note that its name was found.
func (s *selection) has(file string) bool {
	found := len(s.names) == 0
	for name := range s.names {
		if file == name || name == "/" || strings.HasPrefix(file, name+"/") {
			s.names[name], found = true, true
		}
	}
	return found
}

// other takes note of a member that is no file of its own. What a link leads to has been
// passed by.
func (s *selection) other(m *archive.Member) {
	if len(s.names) == 0 || !s.has(m.Path()) || !m.IsHardLink() {
		return
	}
	if !s.has(m.Target()) {
		s.links[m.Path()] = m.Target()
	}
}

func (s *selection) missing() error {
	for _, name := range slices.Sorted(maps.Keys(s.links)) {
		return cli.WithHint(fmt.Errorf("%s: it is a hard link to %s, which was not named", cli.EscapeName(name), cli.EscapeName(s.links[name])),
			"name that as well: an archive has the contents under the first name")
	}
	for _, name := range slices.Sorted(maps.Keys(s.names)) {
		if !s.names[name] {
			return fmt.Errorf("%s: no such file or directory in the archive", cli.EscapeName(name))
		}
	}
	return nil
}
