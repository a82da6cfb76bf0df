package main

import (
	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/diff"
	"github.com/vmseal/vmseal/signer/cli"
)

type diffFlags struct {
	trust    cli.TrustFlag
	selected selectFlags
	old      containerFlags // of the first image; those of selected are of the second
	sparse   bool
	jobs     int
}

func diffCommand() *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell what changed between two images",
		Long: `Diff compares two images name by name, and prints a line for each that was added,
removed or changed, with what changed:

  type        it is another kind of file
  content     a regular file has other contents
  target      a symbolic link leads elsewhere
  device      a device node stands for another device
  label       security.ima has another value
  key         both are labelled with a signature, but by different keys
  mode        permissions, or the setuid, setgid or sticky bit
  owner       owner or group
  links       a regular file has more names, or fewer
  attributes  other extended attributes, such as file capabilities

Labels are not believed: the contents of all files of both images are read and
compared. With --trust FILE, as for 'imagetool verify', each side is judged by
these keys as well: valid, and by which key, or why not. Inode numbers, times and the
order of names do not count. File systems are matched by the number of their
partition; one that only one image has is added or removed with all that is in it.

` + sparseHelp + `

The exit code is 0 if there is no difference and 3 if there is one.`,
		Example: `  imagetool diff old.raw new.raw
  imagetool diff --trust trust.pem old.raw new.raw
  imagetool diff --json old.raw new.raw | jq 'select(.kind == "added").path'`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1]) },
	}
	f.trust.RegisterOptional(cmd)
	f.selected.register(cmd)
	f.old.register(cmd, "old-")
	f.selected.registerLeaveOut(cmd)
	cli.RegisterJobs(cmd, &f.jobs)
	registerSparse(cmd, &f.sparse)
	return cmd
}

func (f *diffFlags) run(cmd *cobra.Command, before, after string) error {
	if err := cli.CheckJobs(f.jobs); err != nil {
		return err
	}
	out := cli.Out(cmd)
	opt := diff.Options{AllowSparse: f.sparse, Jobs: f.jobs}
	var err error
	if opt.Trust, err = f.trust.LoadIfGiven(); err != nil {
		return err
	}
	first := f.selected
	first.container = f.old
	old, err := f.open(cmd, before, &first)
	if err != nil {
		return err
	}
	defer old.Close()
	new, err := f.open(cmd, after, &f.selected)
	if err != nil {
		return err
	}
	defer new.Close()

	var done func()
	opt.Progress, done = out.Progress()
	defer done()
	sums := diffSummary{Type: "summary"}
	opt.Result = func(c *diff.Change) error {
		sums.count(c)
		out.Object(newChangeObject(c, opt.Trust != nil))
		out.Printf("%s\n", changeText(c, opt.Trust != nil))
		return nil
	}
	if err := diff.Images(cmd.Context(), old, new, opt); err != nil {
		return err
	}
	done()
	sums.Same = sums.total() == 0
	out.Object(sums)
	out.Infof("%s\n", sums.text())
	if n := sums.total(); n > 0 {
		return cli.Incompletef("%s", cli.Count(n, "difference"))
	}
	return nil
}

// open opens one of the images and tells what of it is not compared.
func (f *diffFlags) open(cmd *cobra.Command, path string, s *selectFlags) (*imagetool.Image, error) {
	img, err := openForReading(cmd, path, s)
	if err != nil {
		return nil, err
	}
	warnOf(cmd, img, path)
	if _, err := findLeftOut(cmd, img, path); err != nil {
		img.Close()
		return nil, err
	}
	return img, nil
}
