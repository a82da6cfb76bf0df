package enforcerdocs

import (
	"strings"
	"time"

	"github.com/vmseal/vmseal/signer/cli/manpage"
)

// Section is that of the pages: commands of administrators.
const Section = 8

// Pages are the manual pages by the names of their files.
func (p *Program) Pages(date time.Time) map[string][]byte {
	page := func(name string) *manpage.Page {
		return &manpage.Page{Name: name, Section: Section, Source: "enforcer " + p.Version, Date: date}
	}
	top := page("enforcer")
	top.Summary = strings.TrimSuffix(strings.TrimPrefix(p.Summary, "Enforcer "), ".")
	top.Text = p.Summary + "\n\n" + p.About
	pages := []*manpage.Page{top}
	for _, c := range p.Commands {
		sub := page("enforcer-" + c.Name)
		sub.Summary, sub.Text, sub.SeeAlso = c.Summary, c.About, []string{"enforcer"}
		sub.Synopsis = []string{c.Synopsis + " [option...]"}
		for _, f := range c.Flags {
			sub.Options = append(sub.Options, manpage.Option{Flag: strings.TrimSpace("--" + f.Name + " " + strings.ToUpper(f.Value)), Text: f.Text})
		}
		top.Synopsis = append(top.Synopsis, sub.Synopsis...)
		top.SeeAlso = append(top.SeeAlso, sub.Name)
		pages = append(pages, sub)
	}
	files := map[string][]byte{}
	for _, page := range pages {
		files[page.Name+".8"] = page.Format()
	}
	return files
}
