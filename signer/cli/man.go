package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes the manual pages. It is for packagers, so help does not list
// it.
func manCommand(root *cobra.Command) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:    "man --out DIR",
		Short:  "Write manual pages",
		Long:   "Write a manual page in section 1 for each command into DIR, which is made if there is none.",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			root.DisableAutoGenTag = true // a date would make each build another
			header := &doc.GenManHeader{Section: "1", Source: root.Name() + " " + Version(), Date: &time.Time{}}
			if err := doc.GenManTree(root, header, dir); err != nil {
				return fmt.Errorf("writing manual pages: %w", err)
			}
			Out(cmd).Infof("manual pages are in %s\n", EscapeName(strings.TrimSuffix(dir, "/")))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "out", "", "folder to write to")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err)
	}
	return cmd
}
