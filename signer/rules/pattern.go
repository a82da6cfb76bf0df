package rules

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// pattern matches the paths of files, relative to the root.
type pattern struct {
	prefix string   // every path that matches begins so: a cheap test first
	parts  []string // components for path.Match, or anyDepth
	dir    bool     // matches directories only
}

// anyDepth as a component matches any number of components.
const anyDepth = "**"

// parsePattern translates a pattern of gitignore.
func parsePattern(text string) (pattern, error) {
	if err := checkPattern(text); err != nil {
		return pattern{}, err
	}
	body, anchored := strings.CutPrefix(text, "/")
	body, dir := strings.CutSuffix(body, "/")
	p := pattern{dir: dir}
	if anchored || strings.Contains(body, "/") {
		p.prefix = body[:literal(body)]
	} else {
		p.parts = []string{anyDepth}
	}
	for part := range strings.SplitSeq(body, "/") {
		if err := checkPart(part); err != nil {
			return pattern{}, err
		}
		p.parts = append(p.parts, caretSets(part))
	}
	return p, nil
}

func checkPattern(text string) error {
	switch {
	case text == "":
		return errors.New("missing")
	case text == "/":
		return errors.New("matches nothing; ** matches everything")
	case text[0] == '!':
		return errors.New(`there is no negation: give the path a rule of its own (a name may begin with \!)`)
	case strings.Contains(text, "[:"), strings.Contains(text, "[="), strings.Contains(text, "[."):
		return errors.New("named character classes are not supported")
	}
	return nil
}

// checkPart refuses what is no component of any path, and what has no meaning.
// Sets that git reads in a way of its own, such as []a] and [a-], are among them.
func checkPart(part string) error {
	switch part {
	case "":
		return errors.New("empty component")
	case ".", "..":
		return fmt.Errorf("component %q matches nothing", part)
	}
	if part != anyDepth && strings.Contains(part, anyDepth) {
		return fmt.Errorf("component %q: ** stands alone between slashes, or else * is meant", part)
	}
	if _, err := path.Match(caretSets(part), ""); err != nil {
		return fmt.Errorf("component %q is not a valid pattern", part)
	}
	return nil
}

// caretSets writes [!a] as [^a], the only form that path.Match knows.
func caretSets(part string) string {
	b := []byte(part)
	inSet := false
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\':
			i++
		case inSet:
			inSet = b[i] != ']'
		case b[i] == '[':
			inSet = true
			if i+1 < len(b) && b[i+1] == '!' {
				b[i+1] = '^'
			}
		}
	}
	return string(b)
}

// literal is the length of what has no special meaning at the beginning.
func literal(s string) int {
	if i := strings.IndexAny(s, `*?[\`); i >= 0 {
		return i
	}
	return len(s)
}

// match reports whether the pattern matches the file or a directory above it.
// names are the components of file.
func (p pattern) match(file string, names []string) bool {
	return strings.HasPrefix(file, p.prefix) && p.matchNames(names)
}

// matchNames tries each anyDepth with as few names as will do. When a later part
// fails, only the last anyDepth need take one more: what came before it matched
// as early as it could.
func (p pattern) matchNames(names []string) bool {
	if p.dir {
		names = names[:len(names)-1] // the last is a file
	}
	i, j := 0, 0
	star, from := -1, 0 // the last anyDepth, and the name at which what follows it was tried
	for j < len(p.parts) {
		switch {
		case p.parts[j] == anyDepth && j == len(p.parts)-1:
			return i < len(names) // everything inside, not the directory itself
		case p.parts[j] == anyDepth:
			star, from = j, i
			j++
		case i < len(names) && matchName(p.parts[j], names[i]):
			i, j = i+1, j+1
		case star >= 0 && from < len(names):
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	return true
}

// matchName cannot fail: the part was checked.
func matchName(part, name string) bool {
	ok, err := path.Match(part, name)
	return ok && err == nil
}
