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

// traps are those that --trap may name, by how --guest begins.
var traps = map[string][]string{
	"gdb":         {"hardware", "software"},
	"xen":         {"str", "int3", "icebp"},
	"xen-debug":   {"int3"},
	"xen-monitor": {"str", "int3", "icebp"},
}

// kinds are the facilities of Xen that --guest may ask for.
var kinds = map[string]xen.Kind{"xen": xen.Auto, "xen-debug": xen.Debug, "xen-monitor": xen.Monitor}

// retry is how long a socket that is not there yet is left alone.
const retry = 100 * time.Millisecond

// awaitGuest is openGuest, which it tries again and again for the time given while QEMU does not
// listen yet.
func awaitGuest(limit time.Duration, name, trap string, upcall uint64) (guest.Guest, error) {
	for end := time.Now().Add(limit); ; time.Sleep(min(retry, time.Until(end))) {
		g, err := openGuest(name, trap, upcall)
		if !notListening(err) || !time.Now().Before(end) {
			return g, err
		}
	}
}

// notListening tells of an error that there is no QEMU behind the socket.
func notListening(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) && strings.Contains(err.Error(), "connecting")
}

// openGuest finds the guest that --guest names, and stops it. upcall is where the profile has
// its xen_vcpu_info; 0 if that is not known.
func openGuest(name, trap string, upcall uint64) (guest.Guest, error) {
	backend, rest, _ := strings.Cut(name, ":")
	if trap != "" && !slices.Contains(traps[backend], trap) {
		return nil, usagef("--trap: %q is none of those that %q has: %q", trap, name, traps[backend])
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

const releaseAbout = `Release removes all traps from a guest and lets it run, guarded by nobody. It is the
only way to that: an enforcer that ends leaves its traps behind.`

func releaseCommand(args []string, out *output) error {
	var name, trap string
	set := flag.NewFlagSet("release", flag.ContinueOnError)
	set.StringVar(&name, "guest", "", "`guest` to release: gdb:unix:SOCKET or xen:NAME")
	set.StringVar(&trap, "trap", "", "what it was guarded with, if 'enforcer run' was told")
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
	out.info("the guest runs, and nobody guards it")
	return nil
}
