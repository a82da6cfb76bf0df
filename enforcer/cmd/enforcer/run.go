package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vmseal/vmseal/enforcer"
)

const runAbout = `Run guards a guest until it ends. The guest must not have run yet (QEMU's -S, xl create
-p), or have been guarded by an enforcer with the same --state before. Its kernel is started
with the initrd that 'imagetool initrd' was appended to, and with rdinit=/vmseal-init.

Each decision is a line of JSON in the audit. What must not happen freezes the guest,
and ends the enforcer with exit code 4. A signal ends it too; the guest then freezes
at its next appraisal, and a new enforcer with the same --state goes on with it. SIGHUP
reads trust store and deny list again.`

const (
	auditLimit = 2 * time.Second // for the audit to be written at the end
	stopLimit  = time.Second     // for an enforcer that still looks for the kernel
	maxSeconds = 1 << 30         // that a flag may ask for: more than 30 years
)

func runCommand(args []string, out *output) error {
	var f files
	set := flag.NewFlagSet("run", flag.ContinueOnError)
	f.register(set)
	guest := set.String("guest", "", "`guest`: gdb:unix:SOCKET, gdb:fd:N or xen:NAME")
	wait := set.Uint("wait", 0, "`seconds` to wait for QEMU's socket, if QEMU does not listen there yet")
	disk := set.String("device", "", "the one disk or partition, `major:minor` in the guest, whose files may be used")
	writable := set.Bool("writable", false, "accept a system disk that the guest can write to: its root can then run anything")
	noLockdown := set.Bool("no-lockdown", false, "accept a kernel that is not locked down: root can then change the kernel itself")
	heartbeat := set.Uint("heartbeat", 30, "`seconds` within which the guest's kernel is looked at again")
	startLimit := set.Uint("start-limit", 600, "`seconds` that the guest may run until its IMA policy is in force; 0 for no limit")
	initramfsLimit := set.Uint("initramfs-limit", 0, "`seconds` that it may then run until it leaves the initramfs; 0 for no limit")
	audit := set.String("audit", "-", "`file` to append the audit to; - is standard output")
	auditFull := set.String("audit-full", "lose", "what to do where the audit cannot be written: `lose` lines, or freeze the guest")
	state := set.String("state", "", "`file` in which a later enforcer finds how far the guest has come")
	trap := set.String("trap", "", "what traps are: hardware (default) or software breakpoints of QEMU; str, int3 or icebp\nof Xen (default: the first that it offers)")
	name := set.String("name", "", "`name` of the guest in the audit (default: that of --guest)")
	allowDigest := set.Bool("allow-digest", false, "let files with a digest only be read where the policy appraises reading")
	if err := parse(set, args, out, runAbout, "guest", "profile", "trust"); err != nil {
		return err
	}
	device, err := parseDevice(*disk)
	if err != nil {
		return err
	}
	if *heartbeat == 0 || max(*heartbeat, *startLimit, *initramfsLimit) > maxSeconds {
		return usagef("--heartbeat is at least 1 second, and no limit more than %d", maxSeconds)
	}
	if *auditFull != "lose" && *auditFull != "freeze" {
		return usagef("--audit-full: %q is neither lose nor freeze", *auditFull)
	}
	trust, err := f.load()
	if err != nil {
		return err
	}
	log := out.stdout
	if *audit != "-" {
		file, err := os.OpenFile(*audit, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		log = file
	}
	g, err := awaitGuest(time.Duration(*wait)*time.Second, *guest, *trap, f.profile.Variables.XenVCPUInfo)
	if err != nil {
		return err
	}
	defer g.Close()
	if *state != "" && g.Identity() == "" {
		out.warn("the hypervisor's process cannot be known again: no other enforcer will be able to take this guest over")
	}
	s := session{files: &f, out: out, lines: make(chan func(), 16)}
	s.audit = enforcer.NewAudit(log, cmp.Or(*name, *guest), func(text string) { s.say(text, out.warn) })
	go func() {
		for line := range s.lines {
			line()
		}
	}()
	if g, ok := g.(interface{ Chosen() string }); ok {
		s.tell("event", g.Chosen(), out.info)
	}
	if g, ok := g.(interface{ Warnings() []string }); ok {
		for _, text := range g.Warnings() {
			s.tell("warning", text, out.warn)
		}
	}
	if device == 0 {
		s.tell("warning", "without --device files count wherever they lie: on each disk that is attached or made in the guest, too", out.warn)
	}
	if *noLockdown {
		s.tell("warning", "without lockdown root can change the guest's kernel, and have it ask about nothing", out.warn)
	}
	whole := func() error {
		if n := s.audit.Lost(); n > 0 && *auditFull == "freeze" {
			return fmt.Errorf("%d audit records were lost (--audit-full)", n)
		}
		return nil
	}
	seconds := func(n uint) time.Duration { return time.Duration(n) * time.Second }
	return s.guard(enforcer.New(enforcer.Config{
		Guest: g, Profile: f.profile, Device: device, Writable: *writable, AllowDigest: *allowDigest, NoLockdown: *noLockdown,
		Heartbeat: seconds(*heartbeat), StartLimit: seconds(*startLimit), InitramfsLimit: seconds(*initramfsLimit),
		State: enforcer.State{Path: *state, Pins: fmt.Sprintf("%s device %v writable %v no-lockdown %v", f.pins, device, *writable, *noLockdown)},
		Audit: s.audit.Hit, Whole: whole, Event: func(text string) { s.tell("event", text, out.info) },
	}, trust))
}

// session is all that happens from the moment on at which a guest is guarded.
type session struct {
	files *files
	out   *output
	audit *enforcer.Audit
	lines chan func() // that are yet to be printed
}

// tell puts a note in the audit and has it printed.
func (s *session) tell(note, text string, print func(string)) {
	s.audit.Note(note, text)
	s.say(text, print)
}

// say has a text printed. A reader that does not read must not stop the guest, nor what is done
// about it.
func (s *session) say(text string, print func(string)) {
	select {
	case s.lines <- func() { print(text) }:
	default:
	}
}

// guard guards the guest until it ends, and serves SIGHUP. Other signals end the process,
// as they do by default: a hit that was not answered happens again for the next enforcer.
// A guest without traps is frozen before, except one that is being held: Hold does not
// return for a signal, and need not, since the guest gets no further without this process.
func (s *session) guard(e *enforcer.Enforcer) error {
	done := make(chan error, 1)
	go func() { done <- e.Run() }()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	var late <-chan time.Time
	var killed os.Signal
	for {
		select {
		case err := <-done:
			if err != nil {
				note := "frozen"
				if errors.Is(err, enforcer.ErrNeverGuarded) {
					note = "ended"
				}
				s.end(note, err.Error())
				return err
			}
			s.end("event", "the guest has ended")
			s.out.info("the guest has ended")
			return nil
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				s.reload(e)
			} else if killed == nil {
				e.Stop()
				killed, late = sig, time.After(stopLimit)
			}
		case <-late:
			text := fmt.Sprintf("%v: the guest freezes at its next appraisal", killed)
			s.end("ended", text)
			s.out.warn(text + ", until another enforcer goes on")
			signal.Reset(killed)
			_ = syscall.Kill(os.Getpid(), killed.(syscall.Signal))
		}
	}
}

// end completes the audit.
func (s *session) end(note, text string) {
	s.audit.Note(note, text)
	if err := s.audit.Close(auditLimit); err != nil {
		s.out.warn(err.Error())
	}
	if n := s.audit.Lost(); n > 0 {
		s.out.warn(fmt.Sprintf("%d audit records were lost", n))
	}
}

// reload reads what may change. What cannot be read changes nothing.
func (s *session) reload(e *enforcer.Enforcer) {
	trust, err := s.files.loadTrust()
	if err != nil {
		s.tell("reload-failed", "reloading: "+err.Error(), s.out.warn)
		return
	}
	e.SetTrust(trust)
	s.tell("reload", fmt.Sprintf("%d keys and %d denied digests count from now on", len(trust.Keys.Keys()), len(trust.Denied)), s.out.info)
}

func parseDevice(text string) (enforcer.Device, error) {
	if text == "" {
		return 0, nil
	}
	major, minor, ok := strings.Cut(text, ":")
	a, err1 := strconv.ParseUint(major, 10, 12)
	b, err2 := strconv.ParseUint(minor, 10, 20)
	if err := errors.Join(err1, err2); !ok || err != nil || a == 0 {
		return 0, usagef("--device: %q is not the MAJOR:MINOR of a disk", text)
	}
	return enforcer.NewDevice(uint32(a), uint32(b)), nil
}
