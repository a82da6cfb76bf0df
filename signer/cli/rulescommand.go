package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/signer/rules"
)

// rulesObject is the "rules" object of 'rules --list': starter rules.
type rulesObject struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

// RulesCommand shows the rules that are part of the program.
func RulesCommand(program string) *cobra.Command {
	var list bool
	var name string
	cmd := &cobra.Command{
		Use:   "rules {--list | --print NAME}",
		Short: "Show the rules that --rules @NAME stands for",
		Long: `Rules shows the starter rules, for a family of distributions each: what is signed, what
only gets a digest because a running system has to change it, and what is left alone.
Give them as they are (--rules @debian), or as a file to which your own are added.`,
		Example: fmt.Sprintf("  %s rules --list\n  %[1]s rules --print debian > my.rules", program),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := Out(cmd)
			if list {
				for _, name := range rules.StarterNames() {
					out.Object(rulesObject{"rules", name})
					out.Printf("%s\n", name)
				}
				return nil
			}
			if out.JSON {
				return Usagef("--print prints text: give no --json")
			}
			text, err := rules.Starter(name)
			if err != nil {
				return Usagef("--print: %w", err)
			}
			out.Printf("%s", text)
			return nil
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "print their names, one a line")
	cmd.Flags().StringVar(&name, "print", "", "print the rules of this `name`")
	cmd.MarkFlagsOneRequired("list", "print")
	cmd.MarkFlagsMutuallyExclusive("list", "print")
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return rules.StarterNames(), cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("print", complete); err != nil {
		panic(err)
	}
	return cmd
}
