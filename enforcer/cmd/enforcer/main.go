package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/vmseal/vmseal/enforcer"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/keys/trust"
)

// version names the build. In a release the linker sets it: "0.1.0, commit ..."; else it is
// what the go command knows of the module and the commit.
var version = "devel"

// Exit codes.
const exitOK, exitFailed, exitUsage, exitFrozen = 0, 1, 2, 4

const usage = `Enforcer enforces the signatures of a guest's files from outside the guest.

  enforcer run     --guest GUEST --profile P --trust T   guard a guest until it ends
  enforcer check   --profile P --trust T                 validate the files without touching a guest
  enforcer release --guest GUEST                         let a guest run unguarded

GUEST is gdb:unix:SOCKET or gdb:fd:N, the gdb stub of a QEMU that was started with -S,
so that the guest has not run yet; or xen:NAME or xen:ID, a domain of this host that was
created paused (xl create -p). Write xen-debug: or xen-monitor: instead of xen: to choose
one of Xen's two facilities. Run 'enforcer COMMAND --help' for more.

Exit codes: 0 success (run: the guest has ended); 1 failed before a guest was guarded;
2 wrong usage; 4 the guest is frozen, freezes at its next appraisal, or ended without ever
being guarded, or it is not known whether it has ended.
`

// usageError is an error in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	debug.SetGCPercent(50)         // memory is scarcer than time in a lean dom0
	debug.SetTraceback("crash")    // a panic must not exit with one of our exit codes
	signal.Ignore(syscall.SIGPIPE) // a reader that goes away must not end the enforcer
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	out := &output{stdout: stdout, stderr: stderr}
	err := dispatch(args, out)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	code, hint := outcome(err)
	out.fail(err, code, hint)
	return code
}

func dispatch(args []string, out *output) error {
	if len(args) == 0 {
		return usagef("a command is missing: run, check or release")
	}
	switch args[0] {
	case "run":
		return runCommand(args[1:], out)
	case "check":
		return checkCommand(args[1:], out)
	case "release":
		return releaseCommand(args[1:], out)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(out.stdout, usage)
		return nil
	case "version", "--version":
		if info, ok := debug.ReadBuildInfo(); ok && version == "devel" {
			version = strings.TrimPrefix(info.Main.Version, "v")
		}
		fmt.Fprintf(out.stdout, "enforcer %s, %s, formats: profile %s\n", version, runtime.Version(), profile.Format)
		return nil
	}
	return usagef("unknown command %q: want run, check or release", args[0])
}

// parse parses the flags of a command and prints its help. It fails if a required flag is not
// given.
func parse(f *flag.FlagSet, args []string, out *output, about string, required ...string) error {
	f.SetOutput(io.Discard)
	f.BoolVar(&out.json, "json", false, "print one JSON object a line")
	f.BoolVar(&out.quiet, "quiet", false, "print results, warnings and errors only")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(out.stdout, "%s\n\nFlags:\n", about)
		f.VisitAll(func(g *flag.Flag) {
			name, usage := flag.UnquoteUsage(g)
			if d := g.DefValue; d != "" && d != "0" && d != "false" {
				usage += fmt.Sprintf(" (default %s)", d)
			}
			fmt.Fprintf(out.stdout, "  %s\n    \t%s\n", strings.TrimSpace("--"+g.Name+" "+name), usage)
		})
		return err
	case err != nil:
		return usageError{err}
	case f.NArg() > 0:
		return usagef("unexpected argument %q", f.Arg(0))
	}
	for _, name := range required {
		if f.Lookup(name).Value.String() == "" {
			return usagef("%s: --%s is missing", f.Name(), name)
		}
	}
	return nil
}

// output prints messages for people and programs. Its methods may be called concurrently.
type output struct {
	json, quiet    bool
	mu             sync.Mutex
	stdout, stderr io.Writer
}

// object prints a line of JSON if --json was given.
func (o *output) object(v any) {
	if !o.json {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = json.NewEncoder(o.stdout).Encode(v) // a reader that goes away must not end the enforcer
}

// info reports progress.
func (o *output) info(text string) {
	o.object(map[string]any{"type": "event", "text": text})
	if !o.json && !o.quiet {
		o.line("enforcer", text)
	}
}

func (o *output) warn(text string) {
	o.object(map[string]any{"type": "warning", "warning": text})
	o.line("warning", text)
}

func (o *output) fail(err error, code int, hint string) {
	o.object(map[string]any{"type": "error", "error": err.Error(), "hint": hint, "exit_code": code})
	o.line("error", err.Error())
	if hint != "" {
		o.line("hint", hint)
	}
}

// line prints a message without control characters, because parts of it may come from the guest.
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

// outcome returns the exit code for an error, and a hint for people.
func outcome(err error) (code int, hint string) {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage, "run 'enforcer --help' for the commands"
	}
	if _, ok := errors.AsType[*enforcer.FrozenError](err); ok {
		return exitFrozen, "switch the guest off, or let it run unguarded with 'enforcer release'"
	}
	switch {
	case errors.Is(err, enforcer.ErrNeverGuarded):
		return exitFrozen, "look at the guest's console; its command line needs rdinit=/vmseal-init, and its initrd needs the output of 'imagetool initrd'"
	case errors.Is(err, trust.ErrUnknownKey):
		hint = "the profile was signed by a key that is not in the trust store: sign the profile with the image's key, or add the key with 'signer key trust'"
	case notListening(err):
		hint = "start QEMU with -S -gdb unix:SOCKET,server=on,wait=off before the enforcer, or let the enforcer wait for it with --wait"
	case strings.Contains(err.Error(), "/dev/xen/"):
		hint = "run the enforcer as root in dom0: it needs /dev/xen/privcmd, hypercall, evtchn and xenbus"
	case errors.Is(err, enforcer.ErrOthersWrite):
		hint = "the file must belong to root or to the enforcer's user, and nobody else may write to it: chown root FILE; chmod go-w FILE"
	case errors.Is(err, fs.ErrPermission):
		hint = "the enforcer needs permission to read its files and to connect to the guest's socket"
	}
	return exitFailed, hint
}
