package rules

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/signer"
)

// Bounds on what is read; honest files are far below.
const (
	maxLine  = 8 << 10 // twice PATH_MAX
	maxRules = 10_000
)

// Rules are what one file says. The zero value signs everything.
type Rules struct {
	rules []rule
}

type rule struct {
	action  signer.Action
	pattern pattern
	line    Line
}

// A Line is a rule as it stands in its file.
type Line struct {
	Number int
	Text   string // the action and the pattern
}

// Load reads the rules file of that name, or takes starter rules: @debian.
func Load(ctx context.Context, path string) (*Rules, error) {
	if name, ok := strings.CutPrefix(path, StarterPrefix); ok {
		text, err := Starter(name)
		if err != nil {
			return nil, err
		}
		return Parse(strings.NewReader(text))
	}
	f, err := input.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rs, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rs, nil
}

// Parse reads the text of a rules file.
func Parse(r io.Reader) (*Rules, error) {
	rs := &Rules{}
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, maxLine)
	n := 1
	for ; scan.Scan(); n++ {
		line := scan.Text()
		if n == 1 { // git skips a byte order mark, too
			line = strings.TrimPrefix(line, "\ufeff")
		}
		line = strings.TrimLeft(line, " \t")
		if line == "" || line == "\r" || line[0] == '#' {
			continue
		}
		rule, err := parseLine(line)
		if err == nil && len(rs.rules) == maxRules {
			err = fmt.Errorf("more than %d rules", maxRules)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		rule.line.Number = n
		rs.rules = append(rs.rules, rule)
	}
	if err := scan.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d: longer than %d bytes", n, maxLine)
	} else if err != nil {
		return nil, err
	}
	return rs, nil
}

func parseLine(line string) (rule, error) {
	if !utf8.ValidString(line) || strings.ContainsAny(line, "\x00\uFFFD") {
		return rule{}, errors.New("not plain text in UTF-8")
	}
	word, rest := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		word, rest = line[:i], line[i:]
	}
	action, err := parseAction(strings.TrimSuffix(word, "\r"))
	if err != nil {
		return rule{}, err
	}
	text := trimRight(strings.TrimLeft(rest, " \t"))
	p, err := parsePattern(text)
	if err != nil {
		return rule{}, fmt.Errorf("pattern %q: %w", text, err)
	}
	return rule{action, p, Line{Text: action.String() + " " + text}}, nil
}

func parseAction(word string) (signer.Action, error) {
	for _, a := range []signer.Action{signer.ActionSign, signer.ActionHash, signer.ActionSkip} {
		if word == a.String() {
			return a, nil
		}
	}
	return 0, fmt.Errorf("%q is not an action: sign, hash or skip", word)
}

// trimRight takes away white space at the end, but for what a backslash
// protects. An even number of backslashes protects nothing but each other.
func trimRight(s string) string {
	t := strings.TrimRight(s, " \t\r")
	backslashes := len(t) - len(strings.TrimRight(t, `\`))
	if backslashes%2 == 1 && len(t) < len(s) {
		return s[:len(t)+1]
	}
	return t
}

// Action gives what is to be done with an inode of these names.
func (rs *Rules) Action(paths []string) signer.Action {
	if len(paths) == 0 {
		return signer.ActionSign
	}
	strongest := signer.ActionSkip
	for _, p := range paths {
		strongest = max(strongest, rs.one(p))
	}
	return strongest
}

func (rs *Rules) one(path string) signer.Action {
	path = strings.TrimPrefix(path, "/")
	names := strings.Split(path, "/")
	for i := len(rs.rules) - 1; i >= 0; i-- {
		if rs.rules[i].pattern.match(path, names) {
			return rs.rules[i].action
		}
	}
	return signer.ActionSign
}

// Unmatched lists the rules whose pattern matches none of the files, which are given by
// their names. A rule that another one overrides has matched.
func (rs *Rules) Unmatched(files iter.Seq[[]string]) []Line {
	c := rs.Coverage()
	for paths := range files {
		c.Add(paths)
	}
	return c.Unmatched()
}

// A Coverage finds out what Unmatched tells where files come one by one.
type Coverage struct {
	open []rule
}

// Coverage has seen no file yet.
func (rs *Rules) Coverage() *Coverage { return &Coverage{slices.Clone(rs.rules)} }

// Add takes note of a file of these names.
func (c *Coverage) Add(paths []string) {
	for _, path := range paths {
		if len(c.open) == 0 {
			return
		}
		path = strings.TrimPrefix(path, "/")
		names := strings.Split(path, "/")
		c.open = slices.DeleteFunc(c.open, func(r rule) bool { return r.pattern.match(path, names) })
	}
}

// Unmatched lists the rules that match none of the files so far.
func (c *Coverage) Unmatched() []Line {
	var lines []Line
	for _, r := range c.open {
		lines = append(lines, r.line)
	}
	return lines
}
