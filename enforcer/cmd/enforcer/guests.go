package main

import (
	"errors"
	"flag"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/enforcer/gdbstub"
	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/enforcer/xen"
)

// traps lists the values of --trap by the prefix of --guest.
var traps = map[string][]string{
	"gdb":         {"hardware", "software"},
	"xen":         {"str", "int3", "icebp"},
	"xen-debug":   {"int3"},
	"xen-monitor": {"str", "int3", "icebp"},
}

// kinds lists the facilities of Xen by the prefix of --guest.
var kinds = map[string]xen.Kind{"xen": xen.Auto, "xen-debug": xen.Debug, "xen-monitor": xen.Monitor}

// retry is the time between two attempts to connect.
const retry = 100 * time.Millisecond

// waitForGuest calls openGuest again and again, for at most the given time, while QEMU does not
// listen yet.
func waitForGuest(limit time.Duration, name, trap string, upcall uint64) (guest.Guest, error) {
	for end := time.Now().Add(limit); ; time.Sleep(min(retry, time.Until(end))) {
		g, err := openGuest(name, trap, upcall)
		if !notListening(err) || !time.Now().Before(end) {
			return g, err
		}
	}
}

// notListening reports whether err says that no QEMU listens on the socket.
func notListening(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) && strings.Contains(err.Error(), "connecting")
}

// openGuest opens and stops the guest that --guest names. upcall is the offset of the guest
// kernel's xen_vcpu_info from the profile, or 0 if it is not known.
func openGuest(name, trap string, upcall uint64) (guest.Guest, error) {
	backend, rest, _ := strings.Cut(name, ":")
	if trap != "" && !slices.Contains(traps[backend], trap) {
		return nil, usagef("--trap: %q is not possible for %q: use one of %q", trap, name, traps[backend])
	}
	if kind, ok := kinds[backend]; ok && rest != "" {
		return xen.Open(rest, xen.Options{Kind: kind, Trap: trap, Upcall: upcall})
	}
	path, isPath := strings.CutPrefix(name, "gdb:unix:")
	number, isFD := strings.CutPrefix(name, "gdb:fd:")
	fd, err := strconv.Atoi(number)
	var g *gdbstub.Guest
	switch {
	case isPath && path != "":
		g, err = gdbstub.Dial(path)
	case isFD && err == nil && fd > 2:
		g, err = gdbstub.OpenFD(fd)
	default:
		err = usagef("--guest: %q is not gdb:unix:SOCKET, gdb:fd:N or xen:NAME", name)
	}
	if err == nil && trap == "software" {
		g.Trap = gdbstub.Software
	}
	return g, err
}

const releaseAbout = `Release removes all traps from a guest and lets it run unguarded. Nothing else does that:
an enforcer that ends leaves its traps in the guest.`

func releaseCommand(args []string, out *output) error {
	var name, trap string
	set := flag.NewFlagSet("release", flag.ContinueOnError)
	set.StringVar(&name, "guest", "", "`guest` to release: gdb:unix:SOCKET or xen:NAME")
	set.StringVar(&trap, "trap", "", "kind of `trap` that was given to 'enforcer run'")
	if err := parse(set, args, out, releaseAbout, "guest"); err != nil {
		return err
	}
	g, err := openGuest(name, trap, 0)
	if err != nil {
		return err
	}
	defer g.Close()
	if err := g.Release(); err != nil {
		return err
	}
	out.info("the guest runs unguarded")
	return nil
}
