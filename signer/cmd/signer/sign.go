package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
	"github.com/vmseal/vmseal/signer/hosttree"
)

func newSign() *cobra.Command {
	var key cli.KeyFlags
	var jobs int
	var rulesFlags cli.RulesFlags
	var keep cli.KeepFlag
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "sign --key KEYREF PATH...",
		Short: "Sign files of mounted directories",
		Long: `Sign every regular file below each PATH, or the file that PATH is. Symbolic links
are not followed, and other file systems mounted below PATH are left out. A
label that is right already is kept, and files with the same contents are signed
once.

Setting security.ima needs CAP_SYS_ADMIN; --dry-run does not. To sign a disk
image without mounting it, and without root, use imagetool.

With --rules there is one PATH, a directory, and the patterns of the rules are
matched below it: /etc/passwd is PATH/etc/passwd. ` + cli.RulesHelp + `

` + cli.ReplacedHelp + `

` + cli.KeyHelp + ` ` + cli.DryHelp + `

A file that fails does not keep the others from being signed; the exit code is
then 3.`,
		Example: `  signer sign --key keys/private.pem /usr /opt/tool
  signer sign --key keys/private.pem --rules @debian /mnt/guest
  signer sign --key env://SIGNING_KEY --cert keys/cert.pem --hash sha512 ./program`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cli.Out(cmd)
			if err := key.CheckDry(cmd, dryRun); err != nil {
				return err
			}
			if err := cli.CheckJobs(jobs); err != nil {
				return err
			}
			valid, err := keep.Load()
			if err != nil {
				return err
			}
			tree, ruled, err := openTree(cmd.Context(), out, args, &rulesFlags)
			if err != nil {
				return err
			}
			defer tree.Close()
			opt, err := key.OpenDry(cmd.Context(), out)
			if err != nil {
				return err
			}
			opt.Action, opt.Listed = ruled.action, ruled.listed
			opt.Jobs, opt.KeepGoing, opt.DryRun, opt.KeepValid = jobs, true, dryRun, valid
			return sign(cmd, out, tree, opt)
		},
	}
	key.RegisterDry(cmd)
	keep.Register(cmd)
	cli.RegisterJobs(cmd, &jobs)
	rulesFlags.Register(cmd, rulesUsage)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done; read, but sign and write nothing")
	return cmd
}

func sign(cmd *cobra.Command, out *cli.Output, tree *hosttree.Tree, opt signer.Options) error {
	progress, done := out.Progress()
	opt.Progress = progress
	start := time.Now()
	report, err := signer.Sign(cmd.Context(), tree, opt)
	done()
	if err != nil {
		return err
	}
	out.Signed(report)
	if opt.DryRun {
		out.Replaced(report)
	}
	out.Failures(report.Failures)
	boundaries(out, tree)
	summary := cli.NewSignSummary(report, time.Since(start), opt.DryRun)
	out.Object(summary)
	out.Infof("%s\n", summary.Text())
	return cli.SignResult(report)
}

const rulesUsage = "`file` that says by path what to sign, hash and skip, or @NAME of starter rules"

// A ruled tree is one that rules are about; without rules both are nil.
type ruled struct {
	action func([]string) signer.Action
	listed func([]signer.File) error
}

// openTree opens what the arguments name, and the rules for it.
func openTree(ctx context.Context, out *cli.Output, paths []string, f *cli.RulesFlags) (*hosttree.Tree, ruled, error) {
	if f.Path != "" {
		if err := oneDirectory(paths); err != nil {
			return nil, ruled{}, err
		}
	}
	rs, err := f.Load(ctx)
	if err != nil {
		return nil, ruled{}, err
	}
	tree, err := hosttree.Open(paths...)
	if err != nil || f.Path == "" {
		return tree, ruled{}, err
	}
	return tree, ruled{
		action: func(paths []string) signer.Action { return rs.Action(tree.Rooted(paths)) },
		listed: f.Listed(out, rs, tree.Rooted),
	}, nil
}

// oneDirectory makes sure that there is one directory for the rules to be about.
func oneDirectory(args []string) error {
	if len(args) != 1 {
		return cli.Usagef("--rules: wants one PATH, below which its patterns are matched")
	}
	if info, err := os.Stat(args[0]); err == nil && !info.IsDir() {
		return cli.Usagef("--rules: %s is not a directory", args[0])
	}
	return nil
}

// boundaries tells what was left out because something is mounted there.
func boundaries(out *cli.Output, tree *hosttree.Tree) {
	for _, path := range tree.Boundaries() {
		out.Object(struct {
			Type string `json:"type"`
			Path string `json:"path"`
		}{"boundary", cli.Escape(path)})
		out.Infof("%s: left out, another file system\n", cli.EscapeName(path))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
