package main

import (
	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/signer/cli"
)

func recoverCommand() *cobra.Command {
	var log string
	cmd := &cobra.Command{
		Use:   "recover IMAGE",
		Short: "Undo a signing in place that was cut short",
		Long: `Recover gives IMAGE the exact bytes that it had before an 'imagetool sign --in-place'
that was killed or has lost power, and removes the undo log of that run.

It first holds the whole image against the log. If there is anything that is neither
what was there before nor what was to be written, somebody has changed the image
since: then it is refused and nothing is written. Recover itself may be cut short, and
run again.

The log lies beside the image (IMAGE.vmseal-undo), that of a block device in
/var/lib/vmseal/undo or where VMSEAL_STATE_DIR says; --log names another.`,
		Example: `  imagetool recover disk.raw
  imagetool recover --log old/disk.raw.vmseal-undo new/disk.raw`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer cli.HoldSignals()()
			r, err := imagetool.Recover(args[0], log)
			if err != nil {
				return err
			}
			out := cli.Out(cmd)
			out.Object(recoveryObject{"recovery", cli.Escape(args[0]), cli.Escape(r.Log), r.Blocks, r.Changed})
			out.Infof("%s: is as it was: %d of %s had been changed\n", cli.EscapeName(args[0]), r.Changed, cli.Count(r.Blocks, "block"))
			return nil
		},
	}
	cmd.Flags().StringVar(&log, "log", "", "undo log `file`, if it is not in its place")
	return cmd
}

// recoveryObject is the "recovery" object.
type recoveryObject struct {
	Type    string `json:"type"`
	Image   string `json:"image"`
	Log     string `json:"log"`
	Blocks  int    `json:"blocks"`
	Changed int    `json:"changed"`
}
