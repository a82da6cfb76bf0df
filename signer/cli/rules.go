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
--strict-rules an error before anything is written.`

// Register adds --rules and --strict-rules.
func (f *RulesFlags) Register(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&f.Path, "rules", "", usage)
	cmd.Flags().BoolVar(&f.Strict, "strict-rules", false, "fail if a rule matches no file")
}

// Load reads the file; without one the rules sign everything.
func (f *RulesFlags) Load(ctx context.Context) (*rules.Rules, error) {
	switch {
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
	if len(unmatched) == 0 {
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
