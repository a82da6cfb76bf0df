// Package manpage writes manual pages in the macros of man(7), as groff and mandoc read
// them, from what a command prints as its help: paragraphs, and indented lines, which
// stay as they are.
package manpage

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Page is one manual page.
type Page struct {
	Name     string // imagetool-sign
	Section  int
	Source   string // program and version
	Date     time.Time
	Summary  string   // a few words
	Synopsis []string // a line for each form of the command
	Text     string
	Options  []Option
	Common   []Option // that every command of the program has
	Example  string
	SeeAlso  []string // names of pages of the same section
}

// Option is a flag with its value, and what it is for.
type Option struct{ Flag, Text string }

// BuildDate is what SOURCE_DATE_EPOCH says, so that each build gives the same page, or else now.
func BuildDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q is not a number of seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// Format gives the text of the page.
func (p *Page) Format() []byte {
	w := new(writer)
	fmt.Fprintf(w, ".TH \"%s\" %d %s \"%s\" vmseal\n", escape(strings.ToUpper(p.Name)), p.Section, p.Date.Format(time.DateOnly), escape(p.Source))
	w.line(".nh\n.ad l") // a command that is broken between two lines cannot be copied
	w.macro("SH", "NAME")
	w.line(escape(p.Name) + ` \- ` + escape(p.Summary))
	w.macro("SH", "SYNOPSIS")
	w.asIs(p.Synopsis)
	w.macro("SH", "DESCRIPTION")
	w.text(p.Text)
	w.options("OPTIONS", p.Options)
	w.options("COMMON OPTIONS", p.Common)
	if p.Example != "" {
		w.macro("SH", "EXAMPLES")
		w.asIs(unindent(strings.Split(strings.Trim(p.Example, "\n"), "\n")))
	}
	if len(p.SeeAlso) > 0 {
		w.macro("SH", `SEE ALSO`)
		for i, name := range p.SeeAlso {
			end := ","
			if i == len(p.SeeAlso)-1 {
				end = ""
			}
			w.macro("BR", name, "("+strconv.Itoa(p.Section)+")"+end)
		}
	}
	return w.Bytes()
}

type writer struct{ bytes.Buffer }

func (w *writer) line(s string) { w.WriteString(s + "\n") }

// macro writes a request with arguments that may hold blanks.
func (w *writer) macro(name string, arguments ...string) {
	w.WriteString("." + name)
	for _, a := range arguments {
		w.WriteString(` "` + strings.ReplaceAll(escape(a), `"`, `\(dq`) + `"`)
	}
	w.WriteString("\n")
}

// text writes paragraphs: filled, unless their lines are indented.
func (w *writer) text(s string) {
	began := false
	for _, paragraph := range paragraphs(s) {
		if began {
			w.macro("PP")
		}
		began = true
		if strings.HasPrefix(paragraph[0], " ") {
			w.macro("RS", "4")
			w.asIs(unindent(paragraph))
			w.macro("RE")
			continue
		}
		for _, line := range paragraph {
			w.line(guard(escape(line)))
		}
	}
}

// paragraphs are what empty lines separate, and what changes between indented and not.
func paragraphs(s string) (all [][]string) {
	var current []string
	end := func() {
		if len(current) > 0 {
			all = append(all, current)
		}
		current = nil
	}
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, " \t\n")
		if line == "" {
			end()
			continue
		}
		if len(current) > 0 && strings.HasPrefix(line, " ") != strings.HasPrefix(current[0], " ") {
			end()
		}
		current = append(current, line)
	}
	end()
	return all
}

func (w *writer) options(title string, options []Option) {
	if len(options) == 0 {
		return
	}
	w.macro("SH", title)
	for _, o := range options {
		w.macro("TP")
		w.macro("B", o.Flag)
		w.line(guard(escape(strings.Join(strings.Fields(o.Text), " "))))
	}
}

// asIs writes lines that are not filled.
func (w *writer) asIs(lines []string) {
	w.macro("nf")
	for _, line := range lines {
		if line = strings.TrimRight(line, " \t\n"); line == "" {
			w.macro("sp")
			continue
		}
		w.line(guard(escape(line)))
	}
	w.macro("fi")
}

// unindent takes away the blanks that all lines begin with.
func unindent(lines []string) []string {
	least := -1
	for _, line := range lines {
		if trimmed := strings.TrimLeft(line, " "); trimmed != "" && (least < 0 || len(line)-len(trimmed) < least) {
			least = len(line) - len(trimmed)
		}
	}
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = line[min(max(least, 0), len(line)):]
	}
	return out
}

// escape keeps characters from meaning something to roff, and from becoming typographic ones,
// which nobody can paste into a shell (groff_char(7)).
var escape = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace

// guard keeps a line from being taken for a request.
func guard(line string) string {
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}
