package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vmseal/vmseal/signer"
)

// Directories sums up findings by directory, down to a depth. A file counts once,
// under its first name.
type Directories struct {
	depth int
	roots map[string]*directory // by what stands before the first slash of a path
}

// A directory is what was found below it, at whatever depth.
type directory struct {
	path     string
	sums     signer.VerifyReport
	children map[string]*directory
}

// NewDirectories makes sums for directories that have depth names in their path.
func NewDirectories(depth int) *Directories {
	return &Directories{depth, map[string]*directory{}}
}

// Add counts a finding, whose file has a path from a root.
func (d *Directories) Add(f *signer.Finding) {
	first, rest, _ := strings.Cut(f.File.Name(), "/")
	dir := enter(d.roots, first, first+"/")
	dir.sums.Add(f)
	for range d.depth {
		name, below, ok := strings.Cut(rest, "/")
		if !ok {
			return
		}
		dir = enter(dir.children, name, strings.TrimSuffix(dir.path, "/")+"/"+name)
		dir.sums.Add(f)
		rest = below
	}
}

func enter(in map[string]*directory, name, path string) *directory {
	dir := in[name]
	if dir == nil {
		dir = &directory{path: path, children: map[string]*directory{}}
		in[name] = dir
	}
	return dir
}

// sorted lists directories by name.
func sorted(in map[string]*directory) []*directory {
	var list []*directory
	for _, name := range slices.Sorted(maps.Keys(in)) {
		list = append(list, in[name])
	}
	return list
}

// directorySums is the "directory" object of a command that verifies.
type directorySums struct {
	Type string `json:"type"`
	Path string `json:"path"`
	verifySums
}

// Directories prints the sums: as JSON of every directory; as text, unless --quiet
// is given, a table that fits a page.
func (o *Output) Directories(d *Directories) {
	if o.JSON {
		o.directoryObjects(sorted(d.roots))
		return
	}
	if rows := d.rows(); !o.Quiet && len(rows) > 1 {
		o.Table(withoutZeros(rows))
	}
}

func (o *Output) directoryObjects(dirs []*directory) {
	for _, dir := range dirs {
		o.Object(directorySums{"directory", Escape(dir.path), newVerifySums(&dir.sums)})
		o.directoryObjects(sorted(dir.children))
	}
}

// maxSiblings is how many directories inside of one a table shows.
const maxSiblings = 24

var directoryColumns = []string{"DIRECTORY", "FILES", "VALID", "INVALID", "UNSIGNED", "DIGEST ONLY", "IGNORED", "UNREADABLE"}

func row(name string, s *signer.VerifyReport) []string {
	out := []string{name}
	for _, n := range []int{s.Files, s.Valid, s.Invalid, s.Unsigned, s.DigestOnly, s.Ignored, s.Unreadable} {
		out = append(out, strconv.Itoa(n))
	}
	return out
}

// rows gives a line for each root and for what is directly in it. Deeper down are
// only directories with files that are not as they should be, and only where these
// lie among others that are.
func (d *Directories) rows() (rows [][]string) {
	var add func(dir *directory, isRoot bool)
	add = func(dir *directory, isRoot bool) {
		rows = append(rows, row(EscapeName(dir.path), &dir.sums))
		mixed := dir.sums.Bad > 0 && dir.sums.Bad < dir.sums.Files
		if !isRoot && !mixed {
			return
		}
		shown, others, n := foremost(sorted(dir.children), isRoot)
		for _, child := range shown {
			add(child, false)
		}
		if n > 0 {
			rows = append(rows, row(fmt.Sprintf("%s/... (%d more)", strings.TrimSuffix(EscapeName(dir.path), "/"), n), &others))
		}
	}
	for _, root := range sorted(d.roots) {
		add(root, true)
	}
	return rows
}

// foremost chooses the directories with the most bad files, then those with the most
// files, and keeps their order. It sums up the n others, if they are wanted.
func foremost(dirs []*directory, all bool) (shown []*directory, others signer.VerifyReport, n int) {
	if !all {
		dirs = slices.DeleteFunc(dirs, func(d *directory) bool { return d.sums.Bad == 0 })
	}
	if len(dirs) <= maxSiblings {
		return dirs, others, 0
	}
	byWeight := slices.SortedStableFunc(slices.Values(dirs), func(a, b *directory) int {
		return cmp.Or(cmp.Compare(b.sums.Bad, a.sums.Bad), cmp.Compare(b.sums.Files, a.sums.Files))
	})
	keep := map[*directory]bool{}
	for _, d := range byWeight[:maxSiblings] {
		keep[d] = true
	}
	for _, d := range byWeight[maxSiblings:] {
		others.Merge(&d.sums)
	}
	return slices.DeleteFunc(dirs, func(d *directory) bool { return !keep[d] }), others, len(byWeight) - maxSiblings
}

// withoutZeros puts headings over the columns and leaves out those that have nothing
// to say.
func withoutZeros(rows [][]string) [][]string {
	rows = slices.Insert(rows, 0, directoryColumns)
	out := make([][]string, len(rows))
	for column, heading := range directoryColumns {
		zero := func(row []string) bool { return row[column] == "0" }
		if heading != "VALID" && !slices.ContainsFunc(rows[1:], func(row []string) bool { return !zero(row) }) {
			continue
		}
		for i, row := range rows {
			out[i] = append(out[i], row[column])
		}
	}
	return out
}
