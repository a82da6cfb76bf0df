package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/imagetool/sign"
	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
)

// checkArchive refuses what makes no sense for an archive, and says what does.
func (f *signFlags) checkArchive(cmd *cobra.Command, src *archiveSource) error {
	if f.inPlace {
		return cli.WithHint(cli.Usagef("--in-place: a tar archive cannot be changed in place: each value makes it longer in the middle"),
			"--out FILE writes a signed copy; 'mv FILE ARCHIVE' then puts it in the place of the first")
	}
	reasons := maps.Clone(ofImages)
	reasons["break-seals"] = "is not looked through for integrity layers of others"
	for _, name := range []string{"profile", "kernel", "policy", "no-lockdown"} {
		reasons[name] = "is not what a guest boots: 'imagetool profile' makes the profile of the image that is made of it"
	}
	if err := refuseFlags(cmd, reasons); err != nil {
		return err
	}
	if src.packed != "" {
		return fmt.Errorf("%s: %w", src.path, src.compressed(src.packed))
	}
	return nil
}

// checkStdout refuses to write an archive among other things.
func (f *signFlags) checkStdout(out *cli.Output, src *archiveSource) error {
	switch {
	case f.dryRun:
		return cli.Usagef("--out -: a dry run writes nothing: give --dry-run without it")
	case out.JSON:
		return cli.Usagef("--out -: the archive goes to standard output, and so would --json")
	case out.Terminal():
		return cli.WithHint(cli.Usagef("--out -: standard output is a terminal"), "--out FILE writes to a file, and | hands it on")
	case src.file != nil:
		if info, err := os.Stdout.Stat(); err == nil {
			if same, err := src.file.Is(info); err == nil && same {
				return cli.Usagef("--out -: standard output is %s itself", src.path)
			}
		}
	}
	return nil
}

func (f *signFlags) runArchive(cmd *cobra.Command, src *archiveSource, start time.Time) error {
	if err := f.checkArchive(cmd, src); err != nil {
		return err
	}
	f.selected.container.format = ""
	opt, err := f.options(cmd)
	if err != nil {
		return err
	}
	out := cli.Out(cmd)
	toStdout := f.out == piped
	if toStdout {
		if err := f.checkStdout(out, src); err != nil {
			return err
		}
	}
	if src.file != nil {
		if err := src.file.Lock(imagetool.ForCopying); err != nil {
			return err
		}
	}
	if err := f.openKey(cmd.Context(), out, opt); err != nil {
		return err
	}
	see, covered := f.rules.Checked(out, f.loaded)
	update, done := out.Progress()
	defer done()
	opt.Progress = src.measured(update)
	var failed []signer.Failure
	o := sign.ArchiveOptions{
		Options: *opt, In: src, File: src.file, Ended: covered,
		Result: func(r *signer.Report) error {
			see(r.Records[0].File.Name())
			out.Signed(r)
			if f.dryRun {
				out.Replaced(r)
			}
			failed = append(failed, r.Failures...)
			return nil
		},
		Other: func(m *archive.Member) {
			if m.IsHardLink() {
				see(m.Path())
			}
		},
	}
	if toStdout {
		o.Stdout = out.Stdout()
	}
	report, err := sign.Archive(cmd.Context(), o)
	if err != nil {
		return f.roomHint(fmt.Errorf("%s: %w", src.path, err))
	}
	report.Failures = failed
	done()
	f.reportArchive(out, cmd.ErrOrStderr(), opt, report, time.Since(start))
	return cli.SignResult(report)
}

// archiveSummary is the summary of an archive. How many digests are distinct is not known.
type archiveSummary struct {
	cli.SignSummary
	Distinct *int   `json:"distinct_digests,omitempty"`
	Out      string `json:"out,omitempty"`
	Manifest string `json:"manifest,omitempty"`
	KeyID    string `json:"key_id"`
	Hash     string `json:"hash"`
}

func (f *signFlags) reportArchive(out *cli.Output, stderr io.Writer, opt *sign.Options, r *signer.Report, took time.Duration) {
	out.Failures(r.Failures)
	r.Distinct = -1
	s := archiveSummary{SignSummary: cli.NewSignSummary(r, took, f.dryRun), Hash: opt.Hash.String(), Manifest: cli.Escape(f.manifest)}
	if f.key.Bits == 0 {
		s.KeyID = opt.KeyID.String()
	}
	if !f.dryRun {
		s.Out = cli.Escape(f.out)
	}
	switch named, packed := nameOfArchive(f.out); {
	case f.dryRun:
		out.Object(s)
		out.Printf("%s\n", s.Text())
	case f.out == piped:
		if !out.Quiet {
			fmt.Fprintf(stderr, "%s\n", s.Text())
		}
	default:
		if !named || packed != "" {
			out.Warn(errors.New(cli.EscapeName(f.out) + " is a tar archive, which its name does not say: commands that open it need --format tar"))
		}
		out.Object(s)
		out.Infof("%s: %s\n", cli.EscapeName(f.out), s.Text())
	}
}
