// Generate makes what scripts/release puts beside the programs. SOURCE_DATE_EPOCH gives its date.
//
//	go run ./scripts/packaging/_generate enforcer PROGRAM DIR          its manual pages and completions, below DIR/share
//	go run ./scripts/packaging/_generate sbom NAME VERSION PROGRAM...  a bill of materials, to standard output
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vmseal/vmseal/scripts/internal/enforcerdocs"
	"github.com/vmseal/vmseal/scripts/internal/sbom"
	"github.com/vmseal/vmseal/signer/cli/manpage"
)

func main() {
	if err := generate(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func generate(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "enforcer":
		return enforcer(args[1], filepath.Join(args[2], "share"))
	case len(args) > 3 && args[0] == "sbom":
		return bill(args[1], args[2], args[3:])
	}
	return errors.New("usage: generate {enforcer PROGRAM DIR | sbom NAME VERSION PROGRAM...}")
}

// completions are where shells look for them.
var completions = map[string]string{
	"bash": "bash-completion/completions/enforcer",
	"zsh":  "zsh/site-functions/_enforcer",
	"fish": "fish/vendor_completions.d/enforcer.fish",
}

func enforcer(program, share string) error {
	date, err := manpage.BuildDate()
	if err != nil {
		return err
	}
	p, err := enforcerdocs.Read(context.Background(), program)
	if err != nil {
		return err
	}
	scripts, err := p.Completions()
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for shell, text := range scripts {
		files[completions[shell]] = text
	}
	for name, page := range p.Pages(date) {
		files[filepath.Join("man/man"+strconv.Itoa(enforcerdocs.Section), name)] = page
	}
	for name, text := range files {
		path := filepath.Join(share, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
			return err
		}
	}
	return nil
}

func bill(name, version string, programs []string) error {
	date, err := manpage.BuildDate()
	if err != nil {
		return err
	}
	text, err := sbom.Package{Name: name, Version: version, License: "Apache-2.0", Date: date, Programs: programs}.JSON()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
