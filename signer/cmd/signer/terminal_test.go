package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudoterminal: what a person types and sees, and the side that
// a command has.
type terminal struct {
	person, command *os.File

	mu   sync.Mutex
	seen bytes.Buffer
	more chan struct{} // something was seen, or nothing more will be
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	command, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Close() })
	if err := unix.IoctlSetWinsize(int(command.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 200}); err != nil {
		t.Fatal(err)
	}
	term := &terminal{person: person, command: command, more: make(chan struct{}, 1)}
	go io.Copy(term, person)
	return term
}

// Write takes what the person sees.
func (term *terminal) Write(b []byte) (int, error) {
	term.mu.Lock()
	defer term.mu.Unlock()
	term.seen.Write(b)
	select {
	case term.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (term *terminal) screen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen.String()
}

// hung is how long signer may take at the most for anything here.
const hung = 5 * time.Minute

// waitFor waits until the person sees a text.
func (term *terminal) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(hung)
	for !strings.Contains(term.screen(), text) {
		select {
		case <-term.more:
		case <-deadline:
			t.Fatalf("no %q on the screen: %q", text, term.screen())
		}
	}
}

// start runs signer on the terminal.
func (term *terminal) start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("signer", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.command, term.command, term.command
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// wait gives the exit code.
func wait(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	late := time.AfterFunc(hung, func() { cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode()
}

func (term *terminal) echoes(t *testing.T) bool {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(term.command.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return mode.Lflag&unix.ECHO != 0
}

// The prompt takes a line that is not shown, and goes away with the first
// interrupt; in either case the terminal shows what is typed after it.
func TestPrompt(t *testing.T) {
	const secret = "correct horse"
	key, _ := makeKey(t, secret)
	for _, tt := range []struct {
		typed, signal string
		code          int
		want          string
	}{
		{secret + "\n", "", 0, "KEY ID"},
		{"wrong\n", "", 1, "wrong passphrase"},
		{"\n", "", 1, "it is empty"},
		{"half\x03", "", 1, "error: interrupted"},
		{"\x04", "", 1, "EOF"},
		{"", "TERM", 1, "error: interrupted"},
	} {
		term := newTerminal(t)
		cmd := term.start(t, "key", "show", key)
		term.waitFor(t, "private.pem: ")
		if term.echoes(t) {
			t.Errorf("%q: echo is on at the prompt", tt.typed)
		}
		if tt.signal != "" {
			if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
		} else if _, err := term.person.WriteString(tt.typed); err != nil {
			t.Fatal(err)
		}
		if code := wait(t, cmd); code != tt.code {
			t.Errorf("%q: exit code %d, want %d", tt.typed, code, tt.code)
		}
		term.waitFor(t, tt.want)
		if !term.echoes(t) {
			t.Errorf("%q: echo stays off", tt.typed)
		}
		if strings.Contains(term.screen(), "horse") {
			t.Errorf("%q: the screen shows it: %q", tt.typed, term.screen())
		}
	}
}

// The bar does not stand in the lines of results.
func TestBarAndResults(t *testing.T) {
	_, cert := makeKey(t, "")
	dir := t.TempDir()
	for i := range 300 { // more than the output buffer holds
		name := fmt.Sprintf("%s/%03d-%s", dir, i, strings.Repeat("x", 60))
		if err := os.WriteFile(name, make([]byte, 256<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	term := newTerminal(t)
	cmd := term.start(t, "verify", "--trust", cert, dir)
	if code := wait(t, cmd); code != 3 {
		t.Errorf("exit code %d", code)
	}
	term.waitFor(t, "error: 300 of 300 files not verified\r\n")
	if !strings.Contains(term.screen(), "verifying") {
		t.Fatal("no bar was shown")
	}
	results := 0
	for line := range strings.SplitSeq(term.screen(), "\n") {
		line = strings.TrimSuffix(line, "\r")
		line = line[strings.LastIndex(line, "\r")+1:] // what stays on the screen
		if strings.HasPrefix(line, dir) && strings.HasSuffix(line, ": unsigned") {
			results++
		} else if strings.Contains(line, "unsigned") && strings.Contains(line, dir) {
			t.Errorf("on the screen: %q", line)
		}
	}
	if results != 300 {
		t.Errorf("%d whole results", results)
	}
}
