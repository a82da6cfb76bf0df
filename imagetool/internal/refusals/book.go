package refusals

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var table = flag.String("refusals", "", "write a table of all refusals and their judges to this `file`")

// A Book has all refusals of a package, and what judges said of the images for which
// they were made.
type Book struct {
	Makers Makers
	Dir    string // of the package; empty for the current one

	once     sync.Once
	mu       sync.Mutex
	refusals []Refusal
	verdicts map[int]string // by index of the refusal
	missing  string         // a judge
	err      error
}

// Needed reports whether the source says why it refuses what it does with this message.
func (b *Book) Needed(t testing.TB, message string) bool {
	t.Helper()
	if b.read(); b.err != nil {
		t.Fatal(b.err)
	}
	return slices.ContainsFunc(b.refusals, func(r Refusal) bool { return r.Needed != "" && r.pattern.MatchString(message) })
}

// A Verdict is what judges said of an image.
type Verdict struct {
	Against string // what speaks against the image; empty if they found nothing
	Missing string // which judge could not be asked, and why; empty if all were
}

// Note takes down that an image was refused, and what judges said of it. If they found
// nothing, the reason must be written in the source.
func (b *Book) Note(t testing.TB, message string, v Verdict) {
	t.Helper()
	if b.read(); b.err != nil {
		t.Fatal(b.err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	found, excused := false, false
	for i, r := range b.refusals {
		if !r.pattern.MatchString(message) {
			continue
		}
		found, excused = true, excused || r.Needed != ""
		if v.Against != "" {
			b.verdicts[i] = v.Against
		}
	}
	switch {
	case !found:
		t.Errorf("%q is made nowhere in the source", message)
	case v.Against != "" || excused:
	case v.Missing != "":
		b.missing = v.Missing
		t.Logf("%q: not judged, since %s", message, v.Missing)
	default:
		t.Errorf("%q: no judge refuses the image, and no reason is written", message)
	}
}

func (b *Book) read() {
	b.once.Do(func() {
		b.verdicts = map[int]string{}
		b.refusals, b.err = inSource(cmp.Or(b.Dir, "."), b.Makers)
		slices.SortStableFunc(b.refusals, func(x, y Refusal) int { return cmp.Compare(x.Where, y.Where) })
	})
}

// Run runs all tests of the package, and then wants each refusal to have a judge or a
// reason. A run of some of the tests cannot tell.
func (b *Book) Run(m *testing.M) int {
	code := m.Run()
	value := func(name string) string { return flag.Lookup(name).Value.String() }
	whole := value("test.run") == "" && value("test.list") == "" && value("test.short") == "false"
	if b.read(); b.err != nil {
		fmt.Fprintln(os.Stderr, b.err)
		return 1
	}
	if err := b.Write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if !whole || code != 0 || len(b.verdicts) == 0 { // without tools there are no judges
		return code
	}
	if b.missing != "" {
		fmt.Fprintf(os.Stderr, "not every refusal was judged, since %s\n", b.missing)
		return code
	}
	unjudged, _ := b.Unjudged()
	for _, r := range unjudged {
		fmt.Fprintf(os.Stderr, "%s: no test has a judge for %q, and no reason is written\n", r.Where, r.Format)
		code = 1
	}
	return code
}

// Unjudged are the refusals that have neither a judge so far nor a written reason.
func (b *Book) Unjudged() (list []Refusal, err error) {
	if b.read(); b.err != nil {
		return nil, b.err
	}
	for i, r := range b.refusals {
		if r.Needed == "" && b.verdicts[i] == "" {
			list = append(list, r)
		}
	}
	return list, nil
}

// Write writes the table to the file that was asked for.
func (b *Book) Write() error {
	if b.read(); b.err != nil || *table == "" {
		return b.err
	}
	return os.WriteFile(*table, []byte(tableIntro+b.String()), 0o644)
}

const tableIntro = `# What is refused, and who agrees

The tests of this package write this table: each refusal, by where the source makes it,
and a judge that complains of the image that a test made for it, or the reason why it is
refused although none does. "go test -refusals REFUSALS.md ." writes it anew.

`

// CheckTable wants a file to have the table that Write wrote, with a row for each
// refusal. What judges say may differ from run to run.
func (b *Book) CheckTable(t testing.TB, path string) {
	t.Helper()
	if *table != "" { // is being written
		return
	}
	if b.read(); b.err != nil {
		t.Fatal(b.err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if parts := strings.Split(line, " | "); len(parts) > 2 && strings.HasPrefix(line, "| ") {
			rows[strings.Join(parts[:len(parts)-1], " | ")+" | "]++
		}
	}
	rows[tableHead]--
	for _, r := range b.refusals {
		rows[r.row()]--
	}
	for row, n := range rows {
		if n != 0 {
			t.Errorf("%s: %d rows too many (or, below 0, too few) of %q; go test -refusals FILE writes the table anew", path, n, row)
		}
	}
}

const tableHead = "| where | refusal | "

var cell = strings.NewReplacer("|", "\\|", "\n", " ")

// row is that of the table, up to what judges say.
func (r Refusal) row() string {
	return fmt.Sprintf("| %s | %s | ", filepath.ToSlash(r.Where), cell.Replace(r.Format))
}

// String is the table.
func (b *Book) String() string {
	var s strings.Builder
	s.WriteString(tableHead + "judge, or reason |\n|---|---|---|\n")
	for i, r := range b.refusals {
		why := b.verdicts[i]
		if r.Needed != "" {
			why = strings.TrimPrefix(why+"; needed: "+r.Needed, "; ")
		}
		s.WriteString(r.row() + cell.Replace(strings.ReplaceAll(why, " | ", " or ")) + " |\n")
	}
	return s.String()
}
