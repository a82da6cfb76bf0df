package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/signer"
)

func found(path string, v signer.Verdict) *signer.Finding {
	f := &signer.Finding{File: &signer.File{Paths: []string{path}}, Action: signer.ActionSign, Verdict: v}
	if v == signer.Ignored {
		f.Action = signer.ActionSkip
	}
	return f
}

func sumUp(depth int, json bool, findings ...*signer.Finding) string {
	d := NewDirectories(depth)
	for _, f := range findings {
		d.Add(f)
	}
	var b bytes.Buffer
	o := newOutput(&b, &b)
	o.JSON = json
	o.Directories(d)
	o.Flush()
	return b.String()
}

func TestDirectories(t *testing.T) {
	findings := []*signer.Finding{
		found("/top", signer.Valid),
		found("/usr/bin/a/b", signer.Valid),
		found("/usr/bin/c", signer.Invalid),
		found("/usr/lib/d", signer.Valid),
		found("/var/e", signer.Unsigned),
		found("/var/log/f", signer.Unsigned),
		found("/etc/\x1b\n/g", signer.Valid),
	}
	for depth, want := range map[int]string{
		// What is all good or all bad is one line.
		2: `DIRECTORY  FILES  VALID  INVALID  UNSIGNED
/          7      4      1        2
/etc       1      1      0        0
/usr       3      2      1        0
/usr/bin   2      1      1        0
/var       2      0      0        2
`,
		1: `DIRECTORY  FILES  VALID  INVALID  UNSIGNED
/          7      4      1        2
/etc       1      1      0        0
/usr       3      2      1        0
/var       2      0      0        2
`,
		0: "",
	} {
		if got := sumUp(depth, false, findings...); got != want {
			t.Errorf("depth %d:\n%s\nwant\n%s", depth, got, want)
		}
	}
	got := sumUp(2, true, findings...)
	for _, want := range []string{
		`{"type":"directory","path":"/","files":7,"valid":4,"unsigned":2,"digest_only":0,"invalid":1,"ignored":0,"unreadable":0,"bad":3}`,
		`{"type":"directory","path":"/etc/\u001b\n","files":1,"valid":1,`,
		`{"type":"directory","path":"/var/log","files":1,`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n"); n != 8 {
		t.Errorf("%d directories, want 8", n)
	}
}

// Several file systems are apart, and names cannot forge lines.
func TestDirectoryRoots(t *testing.T) {
	got := sumUp(2, false, found("1:/a/\n\x1b[m/b", signer.Invalid), found("1:/a/c", signer.Valid), found("2:/d", signer.Ignored))
	want := `DIRECTORY        FILES  VALID  INVALID  IGNORED
1:/              2      1      1        0
1:/a             2      1      1        0
1:/a/%0A%1B[m  1      0      1        0
2:/              1      0      0        1
`
	if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// A table fits a page: the directories with the most bad files, then the largest.
func TestDirectoriesFitAPage(t *testing.T) {
	var findings []*signer.Finding
	for i := range 1000 {
		for j := range i%7 + 1 {
			findings = append(findings, found(fmt.Sprintf("/%03d/%d", i, j), signer.Valid))
		}
	}
	findings = append(findings, found("/500/bad", signer.Invalid))
	got := sumUp(2, false, findings...)
	if n := strings.Count(got, "\n"); n != 2+maxSiblings+1 {
		t.Errorf("%d lines:\n%s", n, got)
	}
	for _, want := range []string{"\n/500 ", "\n/006 ", fmt.Sprintf("\n/... (%d more) ", 1000-maxSiblings)} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	// Deeper down only what is not as it should be is shown.
	for i, f := range findings {
		findings[i] = found("/usr"+f.File.Name(), f.Verdict)
	}
	if got := sumUp(2, false, findings...); !strings.HasSuffix(got, "\n/usr/500   5      4      1\n") || strings.Count(got, "\n") != 4 {
		t.Errorf("%s", got)
	}
}
