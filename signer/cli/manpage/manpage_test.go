package manpage

import (
	"strings"
	"testing"
	"time"
)

func TestFormat(t *testing.T) {
	p := &Page{
		Name: "tool-do", Section: 1, Source: "tool 0.1.0", Date: time.Unix(1<<31, 0).UTC(), Summary: "Do a thing",
		Synopsis: []string{"tool do FILE"},
		Text:     "A paragraph of\n.two lines, 'quoted' and C:\\path.\n\n    tool do x\n      more\nBehind it.\n",
		Options:  []Option{{"-o, --out FILE", "file to\n'write'"}},
		Example:  "  # first\n  tool do x\n\n  tool do y",
		SeeAlso:  []string{"tool", "tool-undo"},
	}
	want := `.TH "TOOL\-DO" 1 2038-01-19 "tool 0.1.0" vmseal
.nh
.ad l
.SH "NAME"
tool\-do \- Do a thing
.SH "SYNOPSIS"
.nf
tool do FILE
.fi
.SH "DESCRIPTION"
A paragraph of
\&.two lines, \(aqquoted\(aq and C:\epath.
.PP
.RS "4"
.nf
tool do x
  more
.fi
.RE
.PP
Behind it.
.SH "OPTIONS"
.TP
.B "\-o, \-\-out FILE"
file to \(aqwrite\(aq
.SH "EXAMPLES"
.nf
# first
tool do x
.sp
tool do y
.fi
.SH "SEE ALSO"
.BR "tool" "(1),"
.BR "tool\-undo" "(1)"
`
	if got := string(p.Format()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestBuildDate(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if got, err := BuildDate(); err != nil || got.Format(time.DateOnly) != "2023-11-14" {
		t.Error(got, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := BuildDate(); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Error(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if got, err := BuildDate(); err != nil || time.Since(got) > time.Hour {
		t.Error(got, err)
	}
}
