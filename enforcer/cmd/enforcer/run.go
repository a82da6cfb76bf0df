package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vmseal/vmseal/enforcer"
)

const runAbout = `Run guards a guest until it ends. The guest must not have run yet (QEMU's -S), or
have been guarded by an enforcer with the same --state before. Its kernel is started
with the initrd that 'imagetool initrd' was appended to, and with rdinit=/vmseal-init.

Each decision is a line of JSON in the audit. What must not happen freezes the guest,
and ends the enforcer with exit code 4. A signal ends it too; the guest then freezes
at its next appraisal, and a new enforcer with the same --state goes on with it. SIGHUP
reads trust store and deny list again.`

const (
	auditLimit = 2 * time.Second // for the audit to be written at the end
	stopLimit  = time.Second     // for an enforcer that still looks for the kernel
)

type runFlags struct {
	files
	guest, device, audit, state, trap, name string
	allowDigest                             bool
}

func runCommand(args []string, out *output) error {
	var f runFlags
	set := flag.NewFlagSet("run", flag.ContinueOnError)
	f.register(set)
	set.StringVar(&f.guest, "guest", "", "`guest`: gdb:unix:SOCKET or gdb:fd:N")
	set.StringVar(&f.device, "device", "", "the one disk or partition, `major:minor` in the guest, whose files may be used")
	set.StringVar(&f.audit, "audit", "-", "`file` to append the audit to; - is standard output")
	set.StringVar(&f.state, "state", "", "`file` in which a later enforcer finds how far the guest has come")
	set.StringVar(&f.trap, "trap", "hardware", "hardware or software breakpoints")
	set.StringVar(&f.name, "name", "", "`name` of the guest in the audit (default: that of --guest)")
	set.BoolVar(&f.allowDigest, "allow-digest", false, "let files with a digest only be read where the policy appraises reading")
	if err := parse(set, args, out, runAbout, "guest", "profile", "trust"); err != nil {
		return err
	}
	device, err := parseDevice(f.device)
	if err != nil {
		return err
	}
	open, err := parseGuest(f.guest, f.trap)
	if err != nil {
		return err
	}
	trust, err := f.load()
	if err != nil {
		return err
	}
	log, err := f.openAudit(out)
	if err != nil {
		return err
	}
	defer log.Close()
	return f.guard(out, log, open, enforcer.Config{
		Profile: f.profile, Rules: f.profile.Policy, Trust: trust, Device: device, AllowDigest: f.allowDigest,
	})
}

// guard is all that happens from the moment on at which the guest is touched.
func (f *runFlags) guard(out *output, log io.Writer, open opener, c enforcer.Config) error {
	if f.name == "" {
		f.name = f.guest
	}
	g, err := open()
	if err != nil {
		return err
	}
	defer g.Close()
	audit := enforcer.NewAudit(log, f.name)
	c.Guest, c.Audit = g, audit.Hit
	events := make(chan string, 16) // who does not read must not stop the guest
	go func() {
		for text := range events {
			out.info(text)
		}
	}()
	c.Event = func(text string) {
		audit.Note("event", text)
		select {
		case events <- text:
		default:
		}
	}
	c.State = enforcer.NoState{}
	if f.state != "" {
		c.State = enforcer.FileState{Path: f.state, Pins: f.pins}
		if g.Identity() == "" {
			out.warn("the hypervisor's process cannot be known again: no other enforcer will be able to take this guest over")
		}
	}
	e := enforcer.New(c)
	var once sync.Once
	end := func(note, text string) {
		once.Do(func() {
			if text != "" {
				audit.Note(note, text)
			}
			e.Summarize(audit)
			if lost := audit.Close(auditLimit); lost != nil {
				out.warn(lost.Error())
			}
			if n := audit.Lost(); n > 0 {
				out.warn(fmt.Sprintf("%d audit records were lost", n))
			}
		})
	}
	ended := make(chan struct{})
	go f.signals(e, audit, out, ended, end)
	err = e.Run()
	close(ended)
	if err != nil {
		end("frozen", err.Error())
		return err
	}
	end("event", "the guest has ended")
	out.info("the guest has ended")
	return nil
}

// signals serves SIGHUP. Others end the process, as they do by default: a hit that was
// not answered happens again for the next enforcer. A guest without traps is frozen
// before, except one that is being held: Hold does not return for a signal, and need
// not, since the guest gets no further without this process.
func (f *runFlags) signals(e *enforcer.Enforcer, audit *enforcer.Audit, out *output, ended chan struct{}, end func(note, text string)) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	for s := range c {
		if s == syscall.SIGHUP {
			f.reload(e, audit, out)
			continue
		}
		e.Stop()
		select {
		case <-ended:
			return // the guest is frozen, or has ended
		case <-time.After(stopLimit):
		}
		end("ended", fmt.Sprintf("%v: the guest freezes at its next appraisal", s))
		out.warn(fmt.Sprintf("%v: the guest freezes at its next appraisal, until another enforcer goes on", s))
		signal.Reset(s)
		_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
	}
}

// reload reads what may change. What cannot be read changes nothing.
func (f *runFlags) reload(e *enforcer.Enforcer, audit *enforcer.Audit, out *output) {
	trust, err := f.loadTrust()
	if err != nil {
		audit.Note("reload-failed", err.Error())
		out.warn("reloading: " + err.Error())
		return
	}
	e.SetTrust(trust)
	text := fmt.Sprintf("%d keys and %d denied digests count from now on", len(trust.Keys.Keys()), len(trust.Denied))
	audit.Note("reload", text)
	out.info(text)
}

func (f *runFlags) openAudit(out *output) (io.WriteCloser, error) {
	if f.audit == "-" {
		return struct {
			io.Writer
			io.Closer
		}{out.stdout, io.NopCloser(nil)}, nil
	}
	return os.OpenFile(f.audit, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

func parseDevice(text string) (*enforcer.Device, error) {
	if text == "" {
		return nil, nil
	}
	major, minor, ok := strings.Cut(text, ":")
	a, err1 := strconv.ParseUint(major, 10, 12)
	b, err2 := strconv.ParseUint(minor, 10, 20)
	if err := errors.Join(err1, err2); !ok || err != nil {
		return nil, usagef("--device: %q is not MAJOR:MINOR", text)
	}
	switch a {
	case 7, 9, 43: // include/uapi/linux/major.h: LOOP_MAJOR, MD_MAJOR, NBD_MAJOR
		return nil, usagef("--device: %s is a device that root in the guest can put another one under", text)
	}
	return &enforcer.Device{Major: uint32(a), Minor: uint32(b)}, nil
}
