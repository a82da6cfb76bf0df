package rules

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// starters are rules to start from, a file for each family of distributions.
//
//go:embed *.rules
var starters embed.FS

// StarterPrefix stands in front of the name of starter rules where a file could be named, too.
const StarterPrefix = "@"

// StarterNames lists the starter rules: alpine, debian and so on.
func StarterNames() []string {
	files, err := fs.Glob(starters, "*.rules")
	if err != nil {
		panic(err) // a wrong pattern
	}
	for i, name := range files {
		files[i] = strings.TrimSuffix(name, ".rules")
	}
	return files
}

// bases are the starter rules that others are added to.
var bases = map[string]string{"ubuntu": "debian"}

// Starter is the text of the starter rules of that name.
func Starter(name string) (string, error) {
	text, err := starters.ReadFile(name + ".rules")
	if err != nil {
		return "", fmt.Errorf("there are no rules %q: only %s", name, strings.Join(StarterNames(), ", "))
	}
	if base := bases[name]; base != "" {
		below, err := Starter(base)
		return below + string(text), err
	}
	return string(text), nil
}
