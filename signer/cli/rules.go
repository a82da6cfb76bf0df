package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/rules"
)

// RulesFlags are the flags of a command that goes by rules.
type RulesFlags struct {
	Path   string // "" for none: everything is signed
	Strict bool
}

// RulesHelp says what becomes of rules that do nothing.
const RulesHelp = `A rule that matches no file is most likely a mistake: it is named in a warning, or with
--strict-rules an error before anything is written. --rules @debian takes the starter
rules for Debian; 'rules --list' names all of them. They name what a system may have,
so those that match nothing are not reported.`

// Register adds --rules and --strict-rules.
func (f *RulesFlags) Register(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&f.Path, "rules", "", usage)
	cmd.Flags().BoolVar(&f.Strict, "strict-rules", false, "fail if a rule matches no file")
	complete := func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		if !strings.HasPrefix(word, rules.StarterPrefix) {
			return nil, cobra.ShellCompDirectiveDefault
		}
		var names []string
		for _, name := range rules.StarterNames() {
			names = append(names, rules.StarterPrefix+name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("rules", complete); err != nil {
		panic(err)
	}
}

// starter tells whether the rules are no file of the user's own.
func (f *RulesFlags) starter() bool { return strings.HasPrefix(f.Path, rules.StarterPrefix) }

// Load reads the file; without one the rules sign everything.
func (f *RulesFlags) Load(ctx context.Context) (*rules.Rules, error) {
	switch {
	case f.starter() && f.Strict:
		return nil, WithHint(Usagef("--strict-rules is about rules of your own: %s has rules for what your system may not have", f.Path),
			"write them to a file, take out what you do not have, and give that with --rules")
	case f.starter():
		rs, err := rules.Load(ctx, f.Path)
		if err != nil {
			return nil, Usagef("--rules %s: %w", f.Path, err)
		}
		return rs, nil
	case f.Path != "":
		return rules.Load(ctx, f.Path)
	case f.Strict:
		return nil, Usagef("--strict-rules is about a file with rules: give it with --rules")
	}
	return &rules.Rules{}, nil
}

// Listed gives what checks the rules against all files, before the first is read; plain
// gives the names that rules see.
func (f *RulesFlags) Listed(out *Output, rs *rules.Rules, plain func([]string) []string) func([]signer.File) error {
	return func(files []signer.File) error {
		return f.check(out, rs.Unmatched(names(files, plain)))
	}
}

// Checked is Listed for files that come one by one: see takes note of one, and end checks the
// rules. Without a file of rules there is nothing to check.
func (f *RulesFlags) Checked(out *Output, rs *rules.Rules) (see func(path string), end func() error) {
	if f.Path == "" {
		return func(string) {}, func() error { return nil }
	}
	c := rs.Coverage()
	return func(path string) { c.Add([]string{path}) }, func() error { return f.check(out, c.Unmatched()) }
}

func names(files []signer.File, plain func([]string) []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for i := range files {
			if !yield(plain(files[i].Paths)) {
				return
			}
		}
	}
}

func (f *RulesFlags) check(out *Output, unmatched []rules.Line) error {
	if len(unmatched) == 0 || f.starter() {
		return nil
	}
	lines := make([]string, len(unmatched))
	for i, l := range unmatched {
		lines[i] = fmt.Sprintf("line %d (%s)", l.Number, l.Text)
	}
	err := fmt.Errorf("%s: %s no file: %s", f.Path, matches(len(lines)), strings.Join(lines, ", "))
	if f.Strict {
		return WithHint(err, "correct or remove what matches nothing, or leave out --strict-rules")
	}
	out.Warn(err)
	return nil
}

func matches(n int) string {
	if n == 1 {
		return "a rule matches"
	}
	return fmt.Sprintf("%d rules match", n)
}
