package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/vmseal/vmseal/enforcer"
	"github.com/vmseal/vmseal/keys/trust"
)

// output is what people and programs are told. Its methods may be called
// concurrently.
type output struct {
	json, quiet    bool
	mu             sync.Mutex
	stdout, stderr io.Writer
}

// object prints a line of JSON, if that was asked for.
func (o *output) object(v any) {
	if !o.json {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = json.NewEncoder(o.stdout).Encode(v) // who reads no more is not worth the guest
}

// message is a line of JSON for a program.
type message struct {
	Type     string `json:"type"`
	Text     string `json:"text,omitempty"`
	Warning  string `json:"warning,omitempty"`
	Error    string `json:"error,omitempty"`
	Hint     string `json:"hint,omitempty"`
	ExitCode int    `json:"exit_code,omitempty"`
}

// info tells of progress.
func (o *output) info(text string) {
	o.object(message{Type: "event", Text: text})
	if !o.json && !o.quiet {
		o.line("enforcer", text)
	}
}

func (o *output) warn(text string) {
	o.object(message{Type: "warning", Warning: text})
	o.line("warning", text)
}

func (o *output) fail(err error, code int, hint string) {
	o.object(message{Type: "error", Error: err.Error(), Hint: hint, ExitCode: code})
	o.line("error", err.Error())
	if hint != "" {
		o.line("hint", hint)
	}
}

// line keeps what came from a guest from playing with a terminal.
func (o *output) line(kind, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
	fmt.Fprintf(o.stderr, "%s: %s\n", kind, clean)
}

// outcome is the exit code of an error, and what a person can do about it.
func outcome(err error) (code int, hint string) {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage, "'enforcer --help' explains the commands"
	}
	if _, ok := errors.AsType[*enforcer.FrozenError](err); ok {
		return exitFrozen, "switch the guest off, or let it run unguarded with 'enforcer release'"
	}
	switch {
	case errors.Is(err, enforcer.ErrNeverGuarded):
		return exitFrozen, "look at the guest's console; its command line needs rdinit=/vmseal-init, and its initrd what 'imagetool initrd' makes"
	case errors.Is(err, trust.ErrUnknownKey):
		hint = "the profile was signed with a key that is not in the trust store: sign it with the image's key, or add that key with 'signer key trust'"
	case notListening(err):
		hint = "start QEMU with -S -gdb unix:SOCKET,server=on,wait=off before the enforcer, or have that wait for it (--wait)"
	case strings.Contains(err.Error(), "/dev/xen/"):
		hint = "Xen guests are reached from dom0, by root, through /dev/xen/privcmd, hypercall, evtchn and xenbus"
	case errors.Is(err, enforcer.ErrOthersWrite):
		hint = "give it to root or to the user of the enforcer, and take write permission from all others: chown root FILE; chmod go-w FILE"
	case errors.Is(err, fs.ErrPermission):
		hint = "the enforcer has to be able to read its files and to reach the guest's socket"
	}
	return exitFailed, hint
}
