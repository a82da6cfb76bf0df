package refusals

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Mark begins the comment that gives the reason.
const Mark = "Needed: "

// A Refusal is one call in the source that makes a refusal.
type Refusal struct {
	Where   string // "fields.go, checkFields"
	Format  string // of its message
	Needed  string // the reason that is written beside it, if there is one
	pattern *regexp.Regexp
}

// Makers are the functions that make refusals, by their names.
type Makers map[string]Maker

// A Maker takes the format of a message as one of its arguments.
type Maker struct {
	Argument int
	Prefix   string // which it puts before the message
}

// inSource finds the calls of these functions.
func inSource(dir string, makers Makers) (list []Refusal, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		found, err := inFile(set, file, makers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
		list = append(list, found...)
	}
	return list, nil
}

func inFile(set *token.FileSet, file *ast.File, makers Makers) (list []Refusal, err error) {
	reasons := reasonsByLine(set, file)
	name := filepath.Base(set.Position(file.Pos()).Filename)
	for _, d := range file.Decls {
		where, all := name, ""
		if f, ok := d.(*ast.FuncDecl); ok {
			where += ", " + f.Name.Name
			all = reasonIn(f.Doc)
		}
		var path []ast.Node
		ast.Inspect(d, func(n ast.Node) bool {
			if n == nil {
				path = path[:len(path)-1]
				return true
			}
			path = append(path, n)
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			maker, ok := makers[calledName(call)]
			if !ok || maker.Argument >= len(call.Args) {
				return true
			}
			format, ok := constant(call.Args[maker.Argument])
			if !ok {
				return true // passes on the format of another call
			}
			format = maker.Prefix + format
			r := Refusal{Where: where, Format: format, Needed: all}
			for _, p := range path { // from the outermost in
				if reason := reasons[set.Position(p.Pos()).Line]; reason != "" && p != path[0] {
					r.Needed = reason
				}
			}
			r.pattern, err = patternOf(format)
			list = append(list, r)
			return err == nil
		})
	}
	return list, err
}

// reasonsByLine has each reason under the line that it is written above, or beside.
func reasonsByLine(set *token.FileSet, file *ast.File) map[int]string {
	reasons := map[int]string{}
	for _, group := range file.Comments {
		if reason := reasonIn(group); reason != "" {
			reasons[set.Position(group.End()).Line+1] = reason
		}
	}
	return reasons
}

func reasonIn(group *ast.CommentGroup) string {
	_, reason, _ := strings.Cut(strings.Join(strings.Fields(group.Text()), " "), Mark)
	return reason
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr: // parts that are put together
		a, okA := constant(e.X)
		b, okB := constant(e.Y)
		return a + b, okA && okB
	}
	return "", false
}

var verb = regexp.MustCompile(`%[-+# 0]*[0-9]*[a-zA-Z]|%%`)

// patternOf matches the messages that a format makes.
func patternOf(format string) (*regexp.Regexp, error) {
	var b strings.Builder
	rest := format
	for {
		at := verb.FindStringIndex(rest)
		if at == nil {
			break
		}
		b.WriteString(regexp.QuoteMeta(rest[:at[0]]) + "(?s:.*)")
		rest = rest[at[1]:]
	}
	b.WriteString(regexp.QuoteMeta(rest))
	return regexp.Compile("^" + b.String() + "$")
}
