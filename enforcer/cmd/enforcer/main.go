package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/vmseal/vmseal/formats/profile"
)

// version names the build. In a release the linker sets it: "0.1.0, commit ..."; else it is
// what the go command knows of the module and the commit.
var version = "devel"

// Exit codes.
const exitOK, exitFailed, exitUsage, exitFrozen = 0, 1, 2, 4

const usage = `Enforcer keeps the signatures of a guest's files from outside the guest.

  enforcer run     --guest GUEST --profile P --trust T   guard a guest until it ends
  enforcer check   --profile P --trust T                 validate the files, touch no guest
  enforcer release --guest GUEST                         let a guest run unguarded

GUEST is gdb:unix:SOCKET or gdb:fd:N: the gdb stub of a QEMU that was started with
-S, so that the guest has not run yet; or xen:NAME or xen:ID: a domain of this host that
was created paused (xl create -p). xen-debug: and xen-monitor: instead of xen: ask for one
of Xen's two facilities. 'enforcer COMMAND --help' explains more.

Exit codes: 0 done (run: the guest has ended); 1 failed, before a guest was guarded;
2 wrong usage; 4 the guest was left frozen, freezes at its next appraisal, has ended without
ever having been guarded, or it is not known whether it has ended.
`

// A usageError is about the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	debug.SetGCPercent(50)         // memory is scarcer than time in a lean dom0
	debug.SetTraceback("crash")    // a panic must not look like an exit code of ours
	signal.Ignore(syscall.SIGPIPE) // who reads no more is not worth the guest
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
			version = info.Main.Version
		}
		fmt.Fprintf(out.stdout, "enforcer %s, %s, formats: profile %s\n", version, runtime.Version(), profile.Format)
		return nil
	}
	return usagef("unknown command %q: want run, check or release", args[0])
}

// parse reads the flags of a command. All of those named must be given.
func parse(f *flag.FlagSet, args []string, out *output, about string, required ...string) error {
	f.SetOutput(io.Discard)
	f.BoolVar(&out.json, "json", false, "print one JSON object a line")
	f.BoolVar(&out.quiet, "quiet", false, "print results, warnings and errors only")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(out.stdout, "%s\n\nFlags:\n", about)
		f.SetOutput(out.stdout)
		f.PrintDefaults()
		return err
	case err != nil:
		return usageError{err}
	case f.NArg() > 0:
		return usagef("%q is not expected", f.Arg(0))
	}
	for _, name := range required {
		if f.Lookup(name).Value.String() == "" {
			return usagef("%s: --%s is missing", f.Name(), name)
		}
	}
	return nil
}
