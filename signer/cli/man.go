package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmseal/vmseal/signer/cli/manpage"
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
			date, err := manpage.BuildDate()
			if err != nil {
				return Usagef("%w", err)
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := writePages(root, date, dir); err != nil {
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

// writePages writes the page of a command and those of all below it.
func writePages(cmd *cobra.Command, date time.Time, dir string) error {
	page := manPage(cmd, date)
	if err := os.WriteFile(filepath.Join(dir, page.Name+".1"), page.Format(), 0o644); err != nil {
		return err
	}
	for _, sub := range documented(cmd) {
		if err := writePages(sub, date, dir); err != nil {
			return err
		}
	}
	return nil
}

// documented are the commands below one that have pages: those of our own.
func documented(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool {
		return !c.IsAvailableCommand() || c.Name() == "completion" || c.Name() == "help"
	})
}

func manPage(cmd *cobra.Command, date time.Time) *manpage.Page {
	name := func(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }
	p := &manpage.Page{
		Name: name(cmd), Section: 1, Source: cmd.Root().Name() + " " + Version(), Date: date,
		Summary: cmd.Short, Text: cmd.Long, Example: cmd.Example,
		Options: manOptions(cmd.LocalNonPersistentFlags()), Common: manOptions(cmd.Root().PersistentFlags()),
	}
	if cmd.HasParent() {
		p.SeeAlso = append(p.SeeAlso, name(cmd.Parent()))
	}
	subs := documented(cmd)
	for _, sub := range subs {
		p.SeeAlso = append(p.SeeAlso, name(sub))
		if !sub.HasSubCommands() {
			p.Synopsis = append(p.Synopsis, useLine(sub))
		}
	}
	if len(subs) == 0 {
		p.Synopsis = []string{useLine(cmd)}
	}
	return p
}

func useLine(cmd *cobra.Command) string {
	return strings.TrimSuffix(cmd.UseLine(), " [flags]") + " [option...]"
}

func manOptions(flags *pflag.FlagSet) (options []manpage.Option) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		flag := strings.TrimSpace("--" + f.Name + " " + strings.ReplaceAll(strings.ToUpper(value), "INTS", "N"))
		if f.Shorthand != "" {
			flag = "-" + f.Shorthand + ", " + flag
		}
		if f.DefValue != "" && !slices.Contains([]string{"false", "0", "[]"}, f.DefValue) {
			text += " (default: " + f.DefValue + ")"
		}
		options = append(options, manpage.Option{Flag: flag, Text: text})
	})
	return options
}
