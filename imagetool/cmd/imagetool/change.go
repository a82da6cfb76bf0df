package main

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/imagetool/diff"
	"github.com/vmseal/vmseal/signer/cli"
)

// changeObject is the "difference" object of diff.
type changeObject struct {
	Type       string      `json:"type"`
	Path       string      `json:"path"`
	Kind       string      `json:"kind"`
	Fields     []string    `json:"fields,omitempty"`
	Attributes []string    `json:"attributes,omitempty"` // names, with the field of that name
	Old        *nodeObject `json:"old,omitempty"`
	New        *nodeObject `json:"new,omitempty"`
}

// nodeObject is one side of a difference.
type nodeObject struct {
	Mode    string `json:"mode"` // st_mode in octal
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Links   uint32 `json:"links"`
	Size    int64  `json:"size"`
	Digest  string `json:"digest,omitempty"` // SHA-256 of the contents of a regular file
	Value   string `json:"value,omitempty"`  // of security.ima
	KeyID   string `json:"key_id,omitempty"`
	Target  string `json:"target,omitempty"`
	Device  string `json:"device,omitempty"`  // major:minor
	Verdict string `json:"verdict,omitempty"` // of a regular file, with --trust
	Reason  string `json:"reason,omitempty"`
	KeyName string `json:"key_name,omitempty"`
}

func newChangeObject(c *diff.Change, judged bool) changeObject {
	o := changeObject{Type: "difference", Path: cli.Escape(c.Path), Kind: c.Kind, Fields: c.Fields}
	for _, name := range c.Attributes {
		o.Attributes = append(o.Attributes, cli.Escape(name))
	}
	o.Old, o.New = newNodeObject(c.Old, judged), newNodeObject(c.New, judged)
	return o
}

func newNodeObject(n *diff.Node, judged bool) *nodeObject {
	if n == nil {
		return nil
	}
	o := &nodeObject{
		Mode: fmt.Sprintf("%06o", n.Mode), UID: n.UID, GID: n.GID, Links: n.Links, Size: n.Size,
		Value: hex.EncodeToString(n.Label), Target: cli.Escape(n.Target), Device: deviceText(n),
	}
	if id, ok := n.KeyID(); ok {
		o.KeyID = id.String()
	}
	if n.Examined == nil {
		return o
	}
	o.Digest = hex.EncodeToString(n.Contents)
	if f := n.Finding; judged {
		o.Verdict, o.Reason = f.Verdict.String(), string(f.Reason)
		if f.Key != nil {
			o.KeyName = f.Key.Name
		}
	}
	return o
}

// deviceText is empty for what is no device node.
func deviceText(n *diff.Node) string {
	switch modeText(n.Mode)[0] {
	case 'b', 'c':
		return fmt.Sprintf("%d:%d", n.Major, n.Minor)
	}
	return ""
}

// changeText is the line for people: what changed, and then what labels are worth.
func changeText(c *diff.Change, judged bool) string {
	text := fmt.Sprintf("%-8s %s", c.Kind, cli.EscapeName(c.Path))
	var parts []string
	for _, field := range c.Fields {
		parts = append(parts, fieldText(c, field))
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if !judged {
		return text
	}
	if worth := worthText(c); worth != "" {
		separator := ": "
		if len(parts) > 0 {
			separator = "; "
		}
		text += separator + worth
	}
	return text
}

// worthText tells the verdicts on both sides; it is empty without a regular file.
func worthText(c *diff.Change) string {
	worth := func(n *diff.Node) string {
		if n == nil || n.Examined == nil {
			return ""
		}
		return cli.FindingText(n.Finding)
	}
	was, is := worth(c.Old), worth(c.New)
	switch {
	case was == "" && is == "":
		return ""
	case was == is:
		return "still " + is
	case was == "":
		return "is " + is
	case is == "":
		return "was " + was
	}
	return "was " + was + "; is " + is
}

// fieldText adds what a field was and is, where that is short.
func fieldText(c *diff.Change, field string) string {
	var was, is string
	switch old, new := c.Old, c.New; field {
	case diff.FieldType:
		was, is = old.Kind(), new.Kind()
	case diff.FieldTarget:
		was, is = cli.EscapeName(old.Target), cli.EscapeName(new.Target)
	case diff.FieldDevice:
		was, is = deviceText(old), deviceText(new)
	case diff.FieldKey:
		oldID, _ := old.KeyID()
		newID, _ := new.KeyID()
		was, is = oldID.String(), newID.String()
	case diff.FieldMode:
		was, is = modeText(old.Mode), modeText(new.Mode)
	case diff.FieldOwner:
		was, is = fmt.Sprintf("%d:%d", old.UID, old.GID), fmt.Sprintf("%d:%d", new.UID, new.GID)
	case diff.FieldLinks:
		was, is = num(old.Links), num(new.Links)
	case diff.FieldAttributes:
		names := make([]string, len(c.Attributes))
		for i, name := range c.Attributes {
			names[i] = cli.EscapeName(name)
		}
		return field + " " + strings.Join(names, " ")
	case diff.FieldLabel:
		return labelChange(c)
	case diff.FieldContent:
		if !slices.Contains(c.Fields, diff.FieldLabel) && new.Label != nil {
			return field + " under the same label"
		}
		return field
	}
	return fmt.Sprintf("%s %s to %s", field, was, is)
}

func labelChange(c *diff.Change) string {
	switch {
	case c.Old.Label == nil:
		return "label added"
	case c.New.Label == nil:
		return "label removed"
	}
	return "label"
}

// diffSummary is the "summary" object of diff. A name counts under each of its fields.
type diffSummary struct {
	Type    string `json:"type"`
	Same    bool   `json:"same"`
	Added   int    `json:"added"`
	Removed int    `json:"removed"`
	Changed int    `json:"changed"`
	Content int    `json:"content"`
	Label   int    `json:"label"` // of the same content
	Key     int    `json:"key"`
	Other   int    `json:"other"`
}

func (s *diffSummary) total() int { return s.Added + s.Removed + s.Changed }

func (s *diffSummary) count(c *diff.Change) {
	switch c.Kind {
	case diff.Added:
		s.Added++
		return
	case diff.Removed:
		s.Removed++
		return
	}
	s.Changed++
	has := func(field string) bool { return slices.Contains(c.Fields, field) }
	if has(diff.FieldContent) {
		s.Content++
	} else if has(diff.FieldLabel) {
		s.Label++
	}
	if has(diff.FieldKey) {
		s.Key++
	}
	if slices.ContainsFunc(c.Fields, func(field string) bool {
		return field != diff.FieldContent && field != diff.FieldLabel && field != diff.FieldKey
	}) {
		s.Other++
	}
}

func (s *diffSummary) text() string {
	return fmt.Sprintf("%d added, %d removed, %d changed (content %d, label alone %d, key %d, other %d)",
		s.Added, s.Removed, s.Changed, s.Content, s.Label, s.Key, s.Other)
}
