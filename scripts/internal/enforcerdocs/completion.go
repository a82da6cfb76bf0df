package enforcerdocs

import (
	"bytes"
	"embed"
	"strings"
	"text/template"
)

//go:embed completion
var templates embed.FS

// shells are those that a completion is made for.
var shells = []string{"bash", "zsh", "fish"}

// Completions are the texts that the shells load, by the names of the shells.
func (p *Program) Completions() (map[string][]byte, error) {
	all, err := template.New("").Funcs(template.FuncMap{"zsh": quoteZsh, "fish": quoteFish}).ParseFS(templates, "completion/*")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, shell := range shells {
		var b bytes.Buffer
		if err := all.ExecuteTemplate(&b, shell, p); err != nil {
			return nil, err
		}
		files[shell] = b.Bytes()
	}
	return files, nil
}

// IsFile is for the templates.
func (f Flag) IsFile() bool { return f.file() }

// AllFlags is for the templates.
func (p *Program) AllFlags() []Flag { return p.all() }

// quoteZsh makes one word of a text.
func quoteZsh(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoteFish makes one word of a text: fish knows two escapes inside its quotes.
func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// Specification is what _arguments of zsh is told of a flag: --name[text]:value:action.
func (f Flag) Specification() string {
	spec := "--" + f.Name + "[" + strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(f.Text) + "]"
	if f.Value != "" {
		spec += ":" + strings.ReplaceAll(f.Value, ":", `\:`) + ":"
	}
	if f.file() {
		spec += "_files"
	}
	return spec
}
