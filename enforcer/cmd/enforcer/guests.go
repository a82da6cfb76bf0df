package main

import (
	"flag"
	"strconv"
	"strings"

	"github.com/vmseal/vmseal/enforcer/gdbstub"
	"github.com/vmseal/vmseal/enforcer/guest"
)

// openGuest reaches the guest of that name and stops it.
func openGuest(name, trap string) (guest.Guest, error) {
	var t gdbstub.Trap
	switch trap {
	case "hardware":
		t = gdbstub.Hardware
	case "software":
		t = gdbstub.Software
	default:
		return nil, usagef("--trap: %q is neither hardware nor software", trap)
	}
	g, err := openStub(name)
	if err != nil {
		return nil, err
	}
	g.Trap = t
	return g, nil
}

func openStub(name string) (*gdbstub.Guest, error) {
	if path, ok := strings.CutPrefix(name, "gdb:unix:"); ok && path != "" {
		return gdbstub.Dial(path)
	}
	if number, ok := strings.CutPrefix(name, "gdb:fd:"); ok {
		if fd, err := strconv.Atoi(number); err == nil && fd > 2 {
			return gdbstub.OpenFD(fd)
		}
	}
	return nil, usagef("--guest: %q is neither gdb:unix:SOCKET nor gdb:fd:N", name)
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
	g, err := openGuest(name, "hardware")
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
