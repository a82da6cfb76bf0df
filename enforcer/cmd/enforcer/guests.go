package main

import (
	"flag"
	"strconv"
	"strings"

	"github.com/vmseal/vmseal/enforcer/gdbstub"
	"github.com/vmseal/vmseal/enforcer/guest"
)

// opener reaches a guest and stops it.
type opener func() (guest.Guest, error)

// parseGuest tells what --guest and --trap mean, and reaches for nothing yet.
func parseGuest(name, trap string) (opener, error) {
	t := gdbstub.Hardware
	switch trap {
	case "hardware":
	case "software":
		t = gdbstub.Software
	default:
		return nil, usagef("--trap: %q is neither hardware nor software", trap)
	}
	var open func() (*gdbstub.Guest, error)
	path, isPath := strings.CutPrefix(name, "gdb:unix:")
	number, isFD := strings.CutPrefix(name, "gdb:fd:")
	fd, err := strconv.Atoi(number)
	switch {
	case isPath && path != "":
		open = func() (*gdbstub.Guest, error) { return gdbstub.Dial(path) }
	case isFD && err == nil && fd > 2:
		open = func() (*gdbstub.Guest, error) { return gdbstub.OpenFD(fd) }
	default:
		return nil, usagef("--guest: %q is neither gdb:unix:SOCKET nor gdb:fd:N", name)
	}
	return func() (guest.Guest, error) {
		g, err := open()
		if err != nil {
			return nil, err
		}
		g.Trap = t
		return g, nil
	}, nil
}

const releaseAbout = `Release removes all traps from a guest and lets it run, guarded by nobody. It is the
only way to that: an enforcer that ends leaves its traps behind.`

func releaseCommand(args []string, out *output) error {
	var name string
	set := flag.NewFlagSet("release", flag.ContinueOnError)
	set.StringVar(&name, "guest", "", "`guest` to release: gdb:unix:SOCKET")
	if err := parse(set, args, out, releaseAbout, "guest"); err != nil {
		return err
	}
	open, err := parseGuest(name, "hardware")
	if err != nil {
		return err
	}
	g, err := open()
	if err != nil {
		return err
	}
	defer g.Close()
	if err := g.Release(); err != nil {
		return err
	}
	out.info("the guest runs, and nobody guards it")
	return nil
}
