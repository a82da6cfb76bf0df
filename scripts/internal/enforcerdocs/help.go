package enforcerdocs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// A Program is what the enforcer says of itself.
type Program struct {
	Version  string // what stands behind the name in its --version, up to the comma
	Summary  string
	About    string // what its --help says, without the first line
	Commands []Command
}

// A Command is one of its commands.
type Command struct {
	Name     string
	Synopsis string
	Summary  string
	About    string
	Flags    []Flag
}

// A Flag is a flag of a command.
type Flag struct {
	Name  string // without dashes
	Value string // what its value is called; empty if it has none
	Text  string
}

// commandLine is a line of --help: "  enforcer run --guest GUEST   guard a guest".
var commandLine = regexp.MustCompile(`(?m)^  (enforcer +([a-z]+) .*?)   +(\S.*)\n`)

// Read asks the program.
func Read(ctx context.Context, program string) (*Program, error) {
	ask := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, program, args...).Output()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
		}
		return string(out), nil
	}
	version, err1 := ask("--version")
	help, err2 := ask("--help")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	p := &Program{}
	p.Version, _, _ = strings.Cut(strings.TrimSpace(strings.TrimPrefix(version, "enforcer ")), ",")
	p.Summary, p.About, _ = strings.Cut(help, "\n")
	p.About = commandLine.ReplaceAllString(p.About, "")
	for _, m := range commandLine.FindAllStringSubmatch(help, -1) {
		text, err := ask(m[2], "-h")
		if err != nil {
			return nil, err
		}
		c := Command{Name: m[2], Synopsis: strings.Join(strings.Fields(m[1]), " "), Summary: m[3]}
		var flags string
		c.About, flags, _ = strings.Cut(text, "\nFlags:\n")
		if c.Flags, err = parseFlags(flags); err != nil {
			return nil, fmt.Errorf("enforcer %s -h: %w", c.Name, err)
		}
		p.Commands = append(p.Commands, c)
	}
	if len(p.Commands) == 0 {
		return nil, fmt.Errorf("%s --help lists no commands", program)
	}
	return p, nil
}

// flagLine is how a flag is printed: with one dash, as package flag does, or two.
var flagLine = regexp.MustCompile(`^  --?([a-z][a-z0-9-]*)(?: ([^\s]+))?$`)

// parseFlags reads what flag.FlagSet.PrintDefaults prints: a line with the flag, and lines about it, which are indented.
func parseFlags(text string) (flags []Flag, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		m := flagLine.FindStringSubmatch(line)
		switch {
		case m != nil:
			flags = append(flags, Flag{Name: m[1], Value: m[2]})
		case strings.HasPrefix(line, "    ") && len(flags) > 0:
			last := &flags[len(flags)-1]
			last.Text = strings.TrimSpace(last.Text + " " + strings.TrimSpace(line))
		default:
			return nil, fmt.Errorf("%q is not about a flag", line)
		}
	}
	if len(flags) == 0 {
		return nil, errors.New("no flags")
	}
	return flags, nil
}

// file tells whether a flag wants the name of a file.
func (f Flag) file() bool { return f.Value == "file" }

// all are the flags of all commands, each once.
func (p *Program) all() (flags []Flag) {
	for _, c := range p.Commands {
		for _, f := range c.Flags {
			if !slices.ContainsFunc(flags, func(g Flag) bool { return g.Name == f.Name }) {
				flags = append(flags, f)
			}
		}
	}
	return flags
}
