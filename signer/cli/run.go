package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Hints finds what a person may do about an error; "" if it knows nothing.
type Hints func(error) string

// Main runs the command with the arguments of the process and gives its exit
// code. The first interrupt cancels the context of the command, the second kills
// the process.
func Main(root *cobra.Command, hints ...Hints) int {
	ctx, stop := signal.NotifyContext(context.Background(), interrupts()...)
	defer stop()
	context.AfterFunc(ctx, stop)
	root.SetIn(os.Stdin)
	return Run(ctx, root, os.Args[1:], os.Stdout, os.Stderr, hints...)
}

// HoldSignals keeps interrupts from killing the process until release is called.
// The first still cancels the context of the command.
func HoldSignals() (release func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, append(interrupts(), syscall.SIGQUIT)...)
	return func() { signal.Stop(c) }
}

func interrupts() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) wants it to stay so
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// Run is Main with everything given.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer, hints ...Hints) int {
	out := newOutput(stdout, stderr)
	out.hints = append(hints, keyHint)
	started := false
	prepare(root, out, &started)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(context.WithValue(ctx, outputKey{}, out))
	err = classify(ctx, cmd, err, started)
	return out.finish(err)
}

// prepare gives the tree of commands what all of them share.
func prepare(root *cobra.Command, out *Output, started *bool) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(out.stdout)
	root.SetErr(out.stderr)
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.PersistentFlags().BoolVar(&out.JSON, "json", false, "print one JSON object a line")
	root.PersistentFlags().BoolVarP(&out.Quiet, "quiet", "q", false, "print results and errors only")
	root.AddCommand(manCommand(root))
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	strictHelp(root)
	guard(root, started)
}

// strictHelp makes help for what is no command wrong usage, as the command is.
func strictHelp(root *cobra.Command) {
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		panic(err)
	}
	help.Args = func(_ *cobra.Command, args []string) error {
		if of, rest, err := root.Find(args); err != nil || len(rest) > 0 {
			return Usagef("unknown command %q of %s", rest[0], of.CommandPath())
		}
		return nil
	}
}

// guard marks the moment at which a command begins to run: what went wrong
// before is wrong usage. A command that only groups others has nothing to run.
func guard(cmd *cobra.Command, started *bool) {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return Usagef("unknown command %q of %s", args[0], cmd.CommandPath())
			}
			return Usagef("%s: a command is missing: %s", cmd.CommandPath(), subcommands(cmd))
		}
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		guard(sub, started)
	}
}

func subcommands(cmd *cobra.Command) string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return strings.Join(names, ", ")
}

// classify gives an error its kind and usage errors their hint.
func classify(ctx context.Context, cmd *cobra.Command, err error, started bool) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return errors.New("interrupted")
	}
	if _, ok := errors.AsType[*UsageError](err); !ok && !started {
		err = &UsageError{err}
	}
	if exitCode(err) == ExitUsage && hintOf(err, nil) == "" {
		err = WithHint(err, fmt.Sprintf("'%s --help' explains the command", cmd.CommandPath()))
	}
	return err
}
