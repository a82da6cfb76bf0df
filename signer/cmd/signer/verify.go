package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
)

func newVerify() *cobra.Command {
	var trust cli.TrustFlag
	var jobs int
	var rulesFlags cli.RulesFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "verify --trust TRUST|CERT|PUB PATH...",
		Short: "Verify files of mounted directories",
		Long: `Verify the label of every regular file below each PATH, or of the file that PATH
is, and print what is wrong. Symbolic links are not followed, and other file
systems mounted below PATH are left out.

A file is as it should be if it has a signature that verifies. With --rules,
which has to be the file that was signed with, a digest that matches will do
where the rules say hash, and what they skip is not looked at. With --strict-rules a rule
that matches no file is an error, else a warning.

` + cli.ReasonHelp + `

The exit code is 3 if any file is not as it should be.`,
		Example: `  signer verify --trust trust.pem /usr
  signer verify --trust keys/cert.pem --rules @debian /mnt/guest
  signer verify --json --trust keys/public.pem ./program`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.CheckJobs(jobs); err != nil {
				return err
			}
			store, err := trust.Load()
			if err != nil {
				return err
			}
			out := cli.Out(cmd)
			tree, ruled, err := openTree(cmd.Context(), out, args, &rulesFlags)
			if err != nil {
				return err
			}
			defer tree.Close()
			progress, done := out.Progress()
			start := time.Now()
			report, err := signer.Verify(cmd.Context(), tree, store, signer.VerifyOptions{
				Action:    ruled.action,
				Listed:    ruled.listed,
				Jobs:      jobs,
				KeepGoing: true,
				Progress:  progress,
				Result: func(f *signer.Finding) error {
					out.Finding(f, all)
					return nil
				},
			})
			done()
			if err != nil {
				return err
			}
			out.Failures(report.Failures)
			boundaries(out, tree)
			summary := cli.NewVerifySummary(report, time.Since(start))
			out.Object(summary)
			out.Infof("%s\n", summary.Text())
			return cli.VerifyResult(report)
		},
	}
	trust.Register(cmd)
	cli.RegisterJobs(cmd, &jobs)
	rulesFlags.Register(cmd, rulesUsage)
	cmd.Flags().BoolVarP(&all, "all", "a", false, "print files that are as they should be, too")
	return cmd
}
