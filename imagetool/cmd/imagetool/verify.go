package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/verify"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
)

type verifyFlags struct {
	trust    cli.TrustFlag
	selected selectFlags
	manifest string
	rules    cli.RulesFlags
	all      bool
	depth    int
	sparse   bool
	jobs     int
}

func verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify --trust FILE IMAGE [PATH...]",
		Short: "Check every file's signature",
		Long: `Verify checks the security.ima label of each regular file of IMAGE against the keys
in a trust store, a certificate or a public key. Each file that is not as it should
be is named with the reason, and the exit code is 3.

With PATHs, only these files are checked, and all those below a PATH that is a folder.

Every file should have a signature. --rules FILE says otherwise, as it did for
'imagetool sign'; so does --manifest FILE, which also reports files that are missing,
additional, or changed in any other way since the manifest was written. With
--strict-rules a rule that matches no file is an error, else a warning.

Behind the files comes a table that sums up by directory. Of the directories inside of
others it has those in which only some of the files are as they should be.
--by-directory N goes N names deep; 0 leaves the table out. With --json each directory
is an object of its own.

` + cli.ReasonHelp + `

` + leftOutHelp + `

` + pathHelp + `

` + sparseHelp + `

` + archiveHelp,
		Example: `  imagetool verify --trust key/cert.pem signed.raw
  imagetool verify --trust trust.pem --manifest signed.manifest signed.raw
  imagetool verify --trust trust.pem signed.raw /usr/bin /etc/passwd`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1:]) },
	}
	f.trust.Register(cmd)
	f.selected.register(cmd)
	f.selected.registerLeaveOut(cmd)
	cli.RegisterJobs(cmd, &f.jobs)
	flags := cmd.Flags()
	flags.StringVar(&f.manifest, "manifest", "", "compare with this manifest `file` too")
	f.rules.Register(cmd, "`file` that says what should be signed, hashed or left alone, or @NAME")
	flags.BoolVar(&f.all, "all", false, "name the files that are in order too")
	flags.IntVar(&f.depth, "by-directory", 2, "sum up by directory, down to this `depth`")
	registerSparse(cmd, &f.sparse)
	cmd.MarkFlagsMutuallyExclusive("manifest", "rules")
	return cmd
}

func (f *verifyFlags) run(cmd *cobra.Command, path string, names []string) error {
	start := time.Now()
	switch {
	case len(names) > 0 && f.manifest != "":
		return cli.Usagef("a manifest is about whole file systems: give --manifest without PATH")
	case len(names) > 0 && f.rules.Strict:
		return cli.Usagef("whether a rule matches any file takes all of them: give --strict-rules without PATH")
	}
	if f.depth < 0 {
		return cli.Usagef("--by-directory: %d is no depth", f.depth)
	}
	if err := cli.CheckJobs(f.jobs); err != nil {
		return err
	}
	rules, err := f.rules.Load(cmd.Context())
	if err != nil {
		return err
	}
	trust, err := f.trust.Load()
	if err != nil {
		return err
	}
	src, err := openArchive(cmd.Context(), path, &f.selected.container)
	if err != nil {
		return err
	}
	if src != nil {
		defer src.Close()
		return f.runArchive(cmd, src, names, rules, trust, start)
	}
	img, err := openForReading(cmd, path, &f.selected)
	if err != nil {
		return err
	}
	defer img.Close()
	warnOf(cmd, img, "")
	t := img.Tree(fsys.EditOptions{})
	left, err := f.choose(cmd, img, t, names)
	if err != nil {
		return err
	}
	action := func(paths []string) signer.Action { return rules.Action(t.Plain(paths)) }
	var expect *verify.Expectation
	if f.manifest != "" {
		if expect, err = verify.Read(cmd.Context(), img, f.manifest); err != nil {
			return err
		}
		action = expect.Action(t)
	}
	if !f.sparse {
		t.Bound(action)
	}
	run := verifyRun{verifyFlags: f, tree: t, trust: trust, expect: expect, action: action, left: left}
	if f.rules.Path != "" && len(names) == 0 {
		run.listed = f.rules.Listed(cli.Out(cmd), rules, t.Plain)
	}
	if err := run.do(cmd, start); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// choose finds what is to be verified: the files that were named, or else all but what is
// left out unasked.
func (f *verifyFlags) choose(cmd *cobra.Command, img *imagetool.Image, t *imagetool.Tree, names []string) (leftOut, error) {
	if len(names) > 0 {
		return nil, t.Only(cmd.Context(), img, names)
	}
	return findLeftOut(cmd, img, "")
}

// A verifyRun has all that it takes to verify.
type verifyRun struct {
	*verifyFlags
	tree   *imagetool.Tree
	trust  *keys.TrustStore
	expect *verify.Expectation // nil without a manifest
	action func([]string) signer.Action
	listed func([]signer.File) error // nil without rules
	left   leftOut
}

func (r *verifyRun) do(cmd *cobra.Command, start time.Time) error {
	out := cli.Out(cmd)
	progress, done := out.Progress()
	defer done()
	var findings []*signer.Finding // if they are to be compared
	directories := cli.NewDirectories(r.depth)
	report, err := signer.Verify(cmd.Context(), r.tree, r.trust, signer.VerifyOptions{
		Action: r.action, Listed: r.listed, Jobs: r.jobs, KeepGoing: true, Progress: progress,
		Result: func(finding *signer.Finding) error {
			out.Finding(finding, r.all)
			directories.Add(finding)
			if finding.Value = nil; r.expect != nil { // Compare reads it again
				findings = append(findings, finding)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	done()
	s := verifySummary{VerifySummary: cli.NewVerifySummary(report, time.Since(start)), LeftOut: r.left.objects()}
	s.OK = s.OK && len(r.left) == 0
	if r.expect != nil {
		differences, err := r.expect.Compare(cmd.Context(), r.tree, findings)
		if err != nil {
			return err
		}
		s.count(out, differences)
	}
	out.Failures(report.Failures)
	if r.depth > 0 {
		out.Directories(directories)
	}
	out.Object(s)
	out.Infof("%s\n", s.Text())
	if err := cli.VerifyResult(report); err != nil {
		return err
	}
	if n := s.differences(); n > 0 {
		return cli.Incompletef("%s from the manifest", cli.Count(n, "difference"))
	}
	return r.left.result("not verified")
}

// verifySummary adds what was not looked at, and the comparison with a manifest.
type verifySummary struct {
	cli.VerifySummary
	LeftOut    []leftOutObject `json:"left_out"`
	Missing    *int            `json:"missing,omitempty"`
	Additional *int            `json:"additional,omitempty"`
	Changed    *int            `json:"changed,omitempty"`
}

// differenceObject is the "difference" object: one name for which the image is
// not as the manifest has it.
type differenceObject struct {
	Type   string   `json:"type"`
	Path   string   `json:"path"`
	Kind   string   `json:"kind"`
	Fields []string `json:"fields,omitempty"`
}

func (s *verifySummary) count(out *cli.Output, differences []verify.Difference) {
	counts := map[string]*int{verify.Missing: new(int), verify.Additional: new(int), verify.Changed: new(int)}
	s.Missing, s.Additional, s.Changed = counts[verify.Missing], counts[verify.Additional], counts[verify.Changed]
	for _, d := range differences {
		*counts[d.Kind]++
		s.OK = false
		out.Object(differenceObject{"difference", cli.Escape(d.Path), d.Kind, d.Fields})
		text := d.Kind
		if len(d.Fields) > 0 {
			text += " since the manifest: " + strings.Join(d.Fields, ", ")
		}
		out.Printf("%s: %s\n", cli.EscapeName(d.Path), text)
	}
}

func (s *verifySummary) differences() int {
	if s.Missing == nil {
		return 0
	}
	return *s.Missing + *s.Additional + *s.Changed
}
