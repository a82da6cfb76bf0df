package enforcer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	verb     = regexp.MustCompile(`%[ +#0-9.-]*[a-z]`)
)

// TestMessages: the table of messages in README.md quotes messages that exist, and has each message
// of this package that freezes a guest.
func TestMessages(t *testing.T) {
	quoted := quotedMessages(t)
	var literals []string
	for _, dir := range []string{".", "guest", "gdbstub", "xen", "cmd/enforcer"} {
		for _, f := range parseDir(t, dir) {
			literals = append(literals, texts(f)...)
		}
	}
	for _, message := range quoted {
		if !slices.ContainsFunc(literals, func(l string) bool { return strings.Contains(l, message) }) {
			t.Errorf("README.md quotes %q, which no program says", message)
		}
	}
	for _, f := range parseDir(t, ".") {
		for _, message := range freezing(f) {
			if !slices.ContainsFunc(quoted, func(q string) bool { return strings.Contains(message, q) }) {
				t.Errorf("README.md does not explain %q", message)
			}
		}
	}
}

// quotedMessages returns the code in the first column of the table.
func quotedMessages(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "<!-- messages: TestMessages -->\n")
	table, _, _ = strings.Cut(table, "<!-- end -->\n")
	for row := range strings.Lines(table) {
		column, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		for _, m := range codeSpan.FindAllStringSubmatch(column, -1) {
			all = append(all, m[1])
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d messages: %q", len(all), all)
	}
	return all
}

func parseDir(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(paths), err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// texts returns the string literals in a node, with "..." for what is filled in. Literals that are
// joined with + are one text.
func texts(n ast.Node) (all []string) {
	ast.Inspect(n, func(n ast.Node) bool {
		e, _ := n.(ast.Expr)
		text, ok := constant(e)
		if ok {
			all = append(all, verb.ReplaceAllString(text, "..."))
		}
		return !ok
	})
	return all
}

func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, e.Kind == token.STRING && err == nil
	case *ast.BinaryExpr:
		a, ok1 := constant(e.X)
		b, ok2 := constant(e.Y)
		return a + b, ok1 && ok2 && e.Op == token.ADD
	}
	return "", false
}

// harmless are the functions and variables whose errors do not freeze a guest on their own: the first
// two have a file denied, and the others fail before a guest is opened, after it has ended, or inside
// an error that has its own row.
var harmless = []string{"checkDevice", "verify", "ReadFile", "ErrOthersWrite", "Load", "write", "Close"}

// freezing returns the texts of a file's errors, except those of denials.
func freezing(f *ast.File) (all []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return !slices.Contains(harmless, n.Name.Name)
		case *ast.ValueSpec:
			return !slices.Contains(harmless, n.Names[0].Name)
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if name := called.Sel.Name; name == "Errorf" || name == "New" {
				all = append(all, texts(n.Args[0])...)
			}
			return called.Sel.Name != "deny"
		}
		return true
	})
	return all
}
