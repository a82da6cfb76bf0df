package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

type outputKey struct{}

// Output is where a command tells its results. Its methods may be called
// concurrently.
type Output struct {
	JSON  bool // one JSON object a line
	Quiet bool // results and errors only

	mu     sync.Mutex
	stdout *bufio.Writer
	stderr io.Writer
	shared bool  // standard output is a terminal, where the bar may be, too
	err    error // the first of writing results
	bar    *bar
	hints  []Hints
}

// Out gives the output of the run that cmd belongs to.
func Out(cmd *cobra.Command) *Output {
	return cmd.Context().Value(outputKey{}).(*Output)
}

func newOutput(stdout, stderr io.Writer) *Output {
	return &Output{stdout: bufio.NewWriter(stdout), stderr: stderr, shared: isTerminal(stdout)}
}

// Object prints v as one line of JSON; without --json it does nothing. v has a
// "type" field.
func (o *Output) Object(v any) {
	if !o.JSON {
		return
	}
	b, err := json.Marshal(v)
	o.result(func(w io.Writer) error {
		if err != nil {
			return err
		}
		_, err := w.Write(append(asciiControls(b), '\n'))
		return err
	})
}

// Printf prints a result as text; with --json it does nothing.
func (o *Output) Printf(format string, args ...any) {
	if o.JSON {
		return
	}
	o.result(func(w io.Writer) error {
		_, err := fmt.Fprintf(w, format, args...)
		return err
	})
}

// Infof is Printf for what --quiet leaves out.
func (o *Output) Infof(format string, args ...any) {
	if !o.Quiet {
		o.Printf(format, args...)
	}
}

// Table prints rows in aligned columns; with --json it does nothing.
func (o *Output) Table(rows [][]string) {
	if o.JSON {
		return
	}
	o.result(func(w io.Writer) error {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range rows {
			if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
				return err
			}
		}
		return t.Flush()
	})
}

// Terminal reports whether results are shown on a terminal.
func (o *Output) Terminal() bool { return o.shared }

// Stdout writes raw bytes as the result: file contents, for instance.
func (o *Output) Stdout() io.Writer { return rawResult{o} }

type rawResult struct{ o *Output }

func (r rawResult) Write(b []byte) (n int, err error) {
	r.o.result(func(w io.Writer) error {
		n, err = w.Write(b)
		return err
	})
	return n, err
}

// Warn tells of something that is no reason to stop.
func (o *Output) Warn(warning error) {
	hint := hintOf(warning, o.hints)
	o.Object(struct {
		Type    string `json:"type"`
		Warning string `json:"warning"`
		Hint    string `json:"hint,omitempty"`
	}{"warning", Escape(warning.Error()), hint})
	o.message("warning", warning, hint)
}

// Flush gives what was printed to whoever waits for it. At the end of a run that
// happens by itself.
func (o *Output) Flush() {
	o.result(func(io.Writer) error { return o.stdout.Flush() })
}

func (o *Output) result(write func(io.Writer) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var err error
	if o.shared {
		o.bar.aside(func() { err = errors.Join(write(o.stdout), o.stdout.Flush()) })
	} else {
		err = write(o.stdout)
	}
	o.fail(err)
}

// fail notes that a result could not be written.
func (o *Output) fail(err error) {
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("writing output: %w", err)
	}
}

// message is a line for people on standard error, and a hint. It comes behind
// the results so far, where both go to the same place.
func (o *Output) message(kind string, err error, hint string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bar.aside(func() {
		o.fail(o.stdout.Flush())
		fmt.Fprintf(o.stderr, "%s: %s\n", kind, Line(err))
		if hint != "" {
			fmt.Fprintf(o.stderr, "hint: %s\n", hint)
		}
	})
}

// finish tells the error of the run, if any, and gives the exit code.
func (o *Output) finish(err error) int {
	code := exitCode(err)
	if err != nil {
		hint := hintOf(err, o.hints)
		o.Object(struct {
			Type     string `json:"type"`
			Error    string `json:"error"`
			Hint     string `json:"hint,omitempty"`
			ExitCode int    `json:"exit_code"`
		}{"error", Escape(err.Error()), hint, code})
		o.message("error", err, hint)
	}
	o.Flush()
	if o.err != nil && !errors.Is(err, o.err) {
		o.message("error", o.err, "")
		if code == ExitOK {
			code = ExitFailed
		}
	}
	return code
}
