package lvm

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// A section is a name and what stands behind it in braces.
type section struct {
	name     string
	values   []value
	sections []*section
}

// A value is what is assigned to a key: one item, or a list of them.
type value struct {
	key   string
	list  bool
	items []item
}

// An item is a string or a number.
type item struct {
	text   string
	number int64
	kind   itemKind
}

type itemKind byte

const (
	isText itemKind = iota
	isNumber
	isFraction // nothing that counts here has one
)

const (
	maxDepth = 8       // a segment of a volume of a group stands at 4
	maxNodes = 1 << 19 // sections, values and items: enough for 20,000 volumes
)

// parseText reads metadata in the grammar of libdm/libdm-config.c, as far as LVM2 writes
// it: sections, and assignments of strings, numbers and lists of these.
func parseText(text []byte) (*section, error) {
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	p := &parser{text: text}
	root := &section{}
	if err := p.body(root, 0); err != nil {
		return nil, fmt.Errorf("line %d: %w", bytes.Count(text[:p.at], []byte{'\n'})+1, err)
	}
	return root, nil
}

type parser struct {
	text  []byte
	at    int
	nodes int
}

// peek skips white space and comments, and gives the next byte, or 0 at the end.
func (p *parser) peek() byte {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case isSpace(c):
			p.at++
		case c == '#':
			if end := bytes.IndexByte(p.text[p.at:], '\n'); end >= 0 {
				p.at += end
			} else {
				p.at = len(p.text)
			}
		default:
			return c
		}
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// take goes over the next byte if it is this one.
func (p *parser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) count() error {
	if p.nodes++; p.nodes > maxNodes {
		return fmt.Errorf("the metadata has more than %d values", maxNodes)
	}
	return nil
}

// body reads what stands between braces, or all of the text.
func (p *parser) body(s *section, depth int) error {
	keys := map[string]bool{}
	for {
		switch c := p.peek(); {
		case c == 0 && depth == 0:
			return nil
		case c == 0:
			return fmt.Errorf("section %q has no end", s.name)
		case c == '}' && depth > 0:
			p.at++
			return nil
		}
		name := p.identifier()
		switch {
		case name == "":
			return fmt.Errorf("%q is not expected", p.text[p.at])
		case keys[name]:
			return fmt.Errorf("%q is there twice", name)
		}
		keys[name] = true
		if err := p.member(s, name, depth); err != nil {
			return err
		}
	}
}

// member reads what a name stands for.
func (p *parser) member(s *section, name string, depth int) error {
	if err := p.count(); err != nil {
		return err
	}
	switch {
	case p.take('='):
		v, err := p.value(name)
		s.values = append(s.values, v)
		return err
	case !p.take('{'):
		return fmt.Errorf("%q is neither a section nor a value", name)
	case depth == maxDepth:
		return fmt.Errorf("section %q lies too deep", name)
	}
	inner := &section{name: name}
	s.sections = append(s.sections, inner)
	return p.body(inner, depth+1)
}

// identifier reads a name. LVM2 would take one with slashes apart, and quoted ones, too,
// and writes neither.
func (p *parser) identifier() string {
	start := p.at
	for p.at < len(p.text) && isNameByte(p.text[p.at]) {
		p.at++
	}
	return string(p.text[start:p.at])
}

func isNameByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '-' || c == '+'
}

func (p *parser) value(key string) (value, error) {
	v := value{key: key}
	if v.list = p.take('['); !v.list {
		i, err := p.item(key)
		v.items = []item{i}
		return v, err
	}
	for !p.take(']') {
		if len(v.items) > 0 && !p.take(',') {
			return v, fmt.Errorf("the list %q has no comma where one is expected", key)
		}
		if len(v.items) > 0 && p.take(']') { // behind the last comma
			break
		}
		i, err := p.item(key)
		if err != nil {
			return v, err
		}
		v.items = append(v.items, i)
	}
	return v, nil
}

func (p *parser) item(key string) (item, error) {
	if err := p.count(); err != nil {
		return item{}, err
	}
	switch c := p.peek(); {
	case c == '"':
		text, err := p.quoted()
		return item{text: text}, err
	case c >= '0' && c <= '9', c == '+', c == '-', c == '.':
		return p.number(key)
	}
	return item{}, fmt.Errorf("a value is missing")
}

// quoted reads a string. A backslash takes the special meaning from what follows.
func (p *parser) quoted() (string, error) {
	var b []byte
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return string(b), nil
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			b = append(b, p.text[p.at])
		default:
			b = append(b, c)
		}
	}
	return "", fmt.Errorf("a string has no end")
}

// number reads one. Some LVM2 before 2.02.169 wrote a time that is far too large, and later ones
// take it.
func (p *parser) number(key string) (item, error) {
	start, kind := p.at, isNumber
	for p.at++; p.at < len(p.text); p.at++ {
		if c := p.text[p.at]; c == '.' {
			kind = isFraction
		} else if c < '0' || c > '9' {
			break
		}
	}
	text := string(p.text[start:p.at])
	if text[0] == '.' || kind == isFraction {
		return item{kind: isFraction}, nil
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if errors.Is(err, strconv.ErrRange) && key == "creation_time" {
		return item{kind: isFraction}, nil
	}
	if err != nil {
		return item{}, fmt.Errorf("%q is not a number", text)
	}
	return item{number: n, kind: isNumber}, nil
}

// find gives the value of a key.
func (s *section) find(key string) (value, bool) {
	for _, v := range s.values {
		if v.key == key {
			return v, true
		}
	}
	return value{}, false
}

// section gives the section of this name, or nil.
func (s *section) section(name string) *section {
	for _, inner := range s.sections {
		if inner.name == name {
			return inner
		}
	}
	return nil
}

// text gives a string; ok is false where there is none.
func (s *section) text(key string) (text string, ok bool) {
	v, ok := s.find(key)
	if !ok || v.list || v.items[0].kind != isText {
		return "", false
	}
	return v.items[0].text, true
}

// number gives a number that is not negative.
func (s *section) number(key string) (int64, error) {
	v, ok := s.find(key)
	if !ok || v.list || v.items[0].kind != isNumber || v.items[0].number < 0 {
		return 0, fmt.Errorf("%s has no number %q", s.name, key)
	}
	return v.items[0].number, nil
}

// texts gives a list of strings, which may be a single one.
func (s *section) texts(key string) ([]string, error) {
	v, _ := s.find(key)
	var list []string
	for _, i := range v.items {
		if i.kind != isText {
			return nil, fmt.Errorf("%s: %q is not a list of strings", s.name, key)
		}
		list = append(list, i.text)
	}
	return list, nil
}
