package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/signer"
)

var errSpecial = errors.New("special")

// run runs a command tree whose "do" command returns what do returns.
func run(ctx context.Context, do func(*cobra.Command, *Output) error, args ...string) (code int, stdout, stderr string) {
	root := &cobra.Command{Use: "tool", Short: "A tool"}
	sub := &cobra.Command{Use: "do", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return do(cmd, Out(cmd))
	}}
	sub.Flags().Int("need", 0, "")
	must(sub.MarkFlagRequired("need"))
	root.AddCommand(sub)
	var out, errs bytes.Buffer
	hints := func(err error) string {
		if errors.Is(err, errSpecial) {
			return "do it another way"
		}
		return ""
	}
	code = Run(ctx, root, args, &out, &errs, hints)
	return code, out.String(), errs.String()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestExitCodes(t *testing.T) {
	returns := func(err error) func(*cobra.Command, *Output) error {
		return func(*cobra.Command, *Output) error { return err }
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name   string
		ctx    context.Context
		do     func(*cobra.Command, *Output) error
		args   string
		code   int
		stderr string
	}{
		{"ok", nil, returns(nil), "do --need 1", 0, ""},
		{"failed", nil, returns(errors.New("broken")), "do --need 1", 1, "error: broken\n"},
		{"hint", nil, returns(fmt.Errorf("x: %w", errSpecial)), "do --need 1", 1, "error: x: special\nhint: do it another way\n"},
		{"own hint", nil, returns(WithHint(errSpecial, "this way")), "do --need 1", 1, "error: special\nhint: this way\n"},
		{"usage by the command", nil, returns(Usagef("bad %s", "idea")), "do --need 1", 2, "error: bad idea\nhint: 'tool do --help' explains the command\n"},
		{"incomplete", nil, returns(Incompletef("1 file failed")), "do --need 1", 3, "error: 1 file failed\n"},
		{"wrapped", nil, returns(fmt.Errorf("x: %w", Incompletef("y"))), "do --need 1", 3, "error: x: y\n"},
		{"flag missing", nil, returns(nil), "do", 2, "error: required flag(s) \"need\" not set\nhint: 'tool do --help' explains the command\n"},
		{"flag value", nil, returns(nil), "do --need x", 2, ""},
		{"argument", nil, returns(nil), "do --need 1 x", 2, ""},
		{"unknown", nil, returns(nil), "dont", 2, ""},
		{"none", nil, returns(nil), "", 2, ""},
		{"interrupted", cancelled, returns(context.Canceled), "do --need 1", 1, "error: interrupted\n"},
		{"control characters", nil, returns(errors.New("a\x1b[31m\xff 100%")), "do --need 1", 1, "error: a%1B[31m%FF 100%\n"},
	}
	for _, tt := range tests {
		ctx := tt.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		code, stdout, stderr := run(ctx, tt.do, strings.Fields(tt.args)...)
		if code != tt.code || stdout != "" || tt.stderr != "" && stderr != tt.stderr || code != 0 && !strings.HasPrefix(stderr, "error: ") {
			t.Errorf("%s: code %d, stdout %q, stderr %q", tt.name, code, stdout, stderr)
		}
	}
}

// With --json, standard output is one object a line and nothing else.
func TestJSON(t *testing.T) {
	do := func(_ *cobra.Command, out *Output) error {
		out.Printf("text\n")
		out.Infof("text\n")
		out.Table([][]string{{"text"}})
		out.Warn(fmt.Errorf("odd: %w", errSpecial))
		out.Failures([]signer.Failure{{Path: "/a\xff%", Err: errors.New("broken")}})
		return Incompletef("1 file failed")
	}
	code, stdout, stderr := run(t.Context(), do, "do", "--need", "1", "--json")
	want := `{"type":"warning","warning":"odd: special","hint":"do it another way"}
{"type":"failure","path":"/a%FF%25","error":"broken"}
{"type":"error","error":"1 file failed","exit_code":3}
`
	if code != 3 || stdout != want {
		t.Errorf("code %d, stdout\n%s", code, stdout)
	}
	for line := range strings.Lines(stdout) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if stderr != "warning: odd: special\nhint: do it another way\nerror: 1 file failed\n" {
		t.Errorf("stderr %q", stderr)
	}
}

func TestQuiet(t *testing.T) {
	do := func(_ *cobra.Command, out *Output) error {
		out.Object(1)
		out.Infof("information\n")
		out.Printf("result\n")
		if update, done := out.Progress(); update != nil {
			t.Error("a progress bar without a terminal")
		} else {
			done()
		}
		return nil
	}
	if _, stdout, _ := run(t.Context(), do, "do", "--need", "1", "-q"); stdout != "result\n" {
		t.Errorf("%q", stdout)
	}
	if _, stdout, _ := run(t.Context(), do, "do", "--need", "1"); stdout != "information\nresult\n" {
		t.Errorf("%q", stdout)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// Results that could not be written are a failure, however well all else went.
func TestOutputFails(t *testing.T) {
	root := &cobra.Command{Use: "tool"}
	root.AddCommand(&cobra.Command{Use: "do", RunE: func(cmd *cobra.Command, _ []string) error {
		_, err := io.Copy(Out(cmd).Stdout(), strings.NewReader("data"))
		return err
	}})
	var errs bytes.Buffer
	code := Run(t.Context(), root, []string{"do"}, fullDisk{}, &errs)
	if code != 1 || !strings.Contains(errs.String(), "error: writing output: no space left") {
		t.Errorf("code %d, stderr %q", code, &errs)
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string][2]string{
		"/a b":       {"/a b", "/a b"},
		"/ü%":        {"/ü%25", "/ü%25"},
		"/\xff\xc3":  {"/%FF%C3", "/%FF%C3"},
		"/\n\x1b[m":  {"/\n\x1b[m", "/%0A%1B[m"},
		"/\u202e":    {"/\u202e", "/%E2%80%AE"},
		"/\u00a0nbs": {"/\u00a0nbs", "/%C2%A0nbs"},
		"/\ufffd":    {"/\ufffd", "/\ufffd"},
	} {
		if got := Escape(in); got != want[0] {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want[0])
		}
		if got := EscapeName(in); got != want[1] {
			t.Errorf("EscapeName(%q) = %q, want %q", in, got, want[1])
		}
	}
	if got := Printable("50% of\n\x07 \xff%41"); got != "50% of%0A%07 %FF%41" {
		t.Errorf("%q", got)
	}
}

// JSON is harmless on a terminal, and says the same as without that.
func TestJSONControls(t *testing.T) {
	const name = "\x1b \x7f \u009b[31m \u202e \U000e0001 \u00e4 \U0001f600 \n"
	var b bytes.Buffer
	o := newOutput(&b, &b)
	o.JSON = true
	o.Object(map[string]string{"name": name})
	o.Flush()
	line := strings.TrimSuffix(b.String(), "\n")
	if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%q", line)
	}
	var got map[string]string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["name"] != name {
		t.Errorf("%q became %q: %v", name, got["name"], err)
	}
}

// A name in an error cannot forge a line; errors that were joined stay apart.
func TestLine(t *testing.T) {
	name := errors.New("\x1b[m\nerror: forged 5%")
	joined := errors.Join(name, errors.New("second"))
	for want, err := range map[string]error{
		"%1B[m%0Aerror: forged 5%":                         name,
		"a\u00e4: %1B[m%0Aerror: forged 5%":                fmt.Errorf("a\u00e4: %w", name),
		"%1B[m%0Aerror: forged 5%; second":                 joined,
		"x%0A: %1B[m%0Aerror: forged 5%; second (y)":       fmt.Errorf("x\n: %w (y)", joined),
		"1 %1B[m%0Aerror: forged 5% 2 second":              fmt.Errorf("1 %w 2 %w", name, errors.New("second")),
		"first; %1B[m%0Aerror: forged 5%; second":          errors.Join(errors.New("first"), joined),
		"listing: %1B[m%0Aerror: forged 5%: too deep%0A\"": &UsageError{fmt.Errorf("listing: %w: too deep\n\"", name)},
	} {
		if got := Line(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB", 1 << 52: "4096.0 TiB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
	if Count(1, "file") != "1 file" || Count(0, "file") != "0 files" {
		t.Error("Count")
	}
}

// The bar must bear whatever a run reports, totals of nothing among it.
func TestBar(t *testing.T) {
	var w bytes.Buffer
	b := &bar{w: &w}
	for _, p := range []signer.Progress{
		{Phase: signer.PhaseList},
		{Phase: signer.PhaseSign, TotalFiles: 2},
		{Phase: signer.PhaseSign, Files: 1, TotalFiles: 2, Bytes: 10},
		{Phase: signer.PhaseVerify, Files: 2, TotalFiles: 2, Bytes: 5, TotalBytes: 4},
		{Phase: signer.PhaseCommit},
	} {
		b.update(p)
	}
	printed := 0
	b.aside(func() { printed++ })
	(*bar)(nil).aside(func() { printed++ })
	if !strings.Contains(w.String(), "signing") || printed != 2 {
		t.Errorf("%q", w.String())
	}
}

// What a command found stands before the error that it ends with, where both go
// to the same place.
func TestOrder(t *testing.T) {
	root := &cobra.Command{Use: "tool"}
	root.AddCommand(&cobra.Command{Use: "do", RunE: func(cmd *cobra.Command, _ []string) error {
		out := Out(cmd)
		out.Printf("first\n")
		out.Warn(errors.New("second"))
		out.Printf("third\n")
		return errors.New("fourth")
	}})
	var both bytes.Buffer
	Run(t.Context(), root, []string{"do"}, &both, &both)
	if want := "first\nwarning: second\nthird\nerror: fourth\n"; both.String() != want {
		t.Errorf("got %q, want %q", &both, want)
	}
}
