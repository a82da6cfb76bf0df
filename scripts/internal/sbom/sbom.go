// Package sbom lists what programs are made of, as a bill of materials in CycloneDX 1.6 (ECMA-424, in JSON), which scanners
// for vulnerabilities read. It knows what the go command wrote into each program (debug/buildinfo): the modules that were
// linked, with the digests of go.sum, and the version of Go. The same programs give the same bytes.
package sbom

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Package is what is described: programs that are installed together.
type Package struct {
	Name, Version, License string
	Date                   time.Time
	Programs               []string // paths
}

type document struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// JSON gives the bill of materials.
func (p Package) JSON() ([]byte, error) {
	top := component{Type: "application", Ref: p.Name, Name: p.Name, Version: p.Version}
	if p.License != "" {
		top.Licenses = make([]license, 1)
		top.Licenses[0].License.ID = p.License
	}
	d := document{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{p.Date.UTC().Format(time.RFC3339), top}}
	root := dependency{Ref: top.Ref}
	for _, path := range p.Programs {
		program, modules, err := examine(path)
		if err != nil {
			return nil, err
		}
		node := dependency{Ref: program.Ref}
		for _, m := range modules {
			node.DependsOn = append(node.DependsOn, m.Ref)
			if !slices.ContainsFunc(d.Components, func(c component) bool { return c.Ref == m.Ref }) {
				d.Components = append(d.Components, m)
			}
		}
		root.DependsOn = append(root.DependsOn, program.Ref)
		d.Components = append(d.Components, program)
		d.Dependencies = append(d.Dependencies, node)
	}
	if len(p.Programs) == 0 {
		return nil, errors.New("no programs")
	}
	slices.SortFunc(d.Components, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	d.Dependencies = append([]dependency{root}, d.Dependencies...)
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

// examine gives a program and what was linked into it.
func examine(path string) (program component, modules []component, err error) {
	contents, err := os.ReadFile(path)
	if err != nil {
		return program, nil, err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return program, nil, fmt.Errorf("reading what %s was built of: %w", path, err)
	}
	name := filepath.Base(path)
	program = component{Type: "application", Ref: "program/" + name, Name: name,
		Hashes: []hash{{"SHA-256", fmt.Sprintf("%x", sha256.Sum256(contents))}}}
	modules = []component{module("stdlib", strings.TrimPrefix(info.GoVersion, "go"), "")}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, module(m.Path, m.Version, m.Sum))
	}
	return program, modules, nil
}

// module is a module as a component: its package URL is of type golang (purl-spec).
func module(path, version, sum string) component {
	c := component{Type: "library", Name: path, Version: version, PURL: "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")}
	c.Ref = c.PURL
	if sum != "" {
		c.Properties = []property{{"go.sum", sum}}
	}
	return c
}
