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

const runAbout = `Run guards a guest until it ends. The guest must not have run yet (start it with QEMU's -S
or xl create -p), or an enforcer with the same --state must have guarded it before. Append the
output of 'imagetool initrd' to the guest's initrd, and boot its kernel with rdinit=/vmseal-init.

The audit has one line of JSON for each decision. If the guest can no longer be trusted, the
enforcer freezes it and ends with exit code 4. SIGTERM and SIGINT end it, too: the guest then
freezes at its next appraisal, and a new enforcer with the same --state can take it over. SIGHUP
makes the enforcer read the trust store and the deny list again.`

const (
	auditLimit = 2 * time.Second // for writing the audit at the end
	stopLimit  = time.Second     // for freezing a guest whose kernel is not located yet
	maxSeconds = 1 << 30         // maximum of a flag: more than 30 years
)

func runCommand(args []string, out *output) error {
	var f files
	set := flag.NewFlagSet("run", flag.ContinueOnError)
	f.register(set)
	guest := set.String("guest", "", "`guest`: gdb:unix:SOCKET, gdb:fd:N or xen:NAME")
	wait := set.Uint("wait", 0, "`seconds` to wait until QEMU listens on its socket")
	disk := set.String("device", "", "`major:minor` in the guest of the only disk or partition whose files may be used")
	writable := set.Bool("writable", false, "accept a system disk that the guest can write to: root in the guest can then run anything")
	noLockdown := set.Bool("no-lockdown", false, "accept a kernel that is not locked down: root in the guest can then change the kernel")
	heartbeat := set.Uint("heartbeat", 30, "maximum `seconds` between two checks of the guest's kernel")
	startLimit := set.Uint("start-limit", 600, "`seconds` that the guest may run before its IMA policy is in force; 0 for no limit")
	initramfsLimit := set.Uint("initramfs-limit", 0, "`seconds` that the guest may run in its initramfs once its IMA policy is in force; 0 for no limit")
	audit := set.String("audit", "-", "`file` to append the audit to; - is standard output")
	auditFull := set.String("audit-full", "lose", "`lose|freeze`: lose lines, or freeze the guest, if the audit cannot be written")
	state := set.String("state", "", "`file` that a later enforcer needs to take the guest over")
	trap := set.String("trap", "", "kind of `trap`: hardware (default) or software for QEMU; str, int3 or icebp for Xen (default: the first that Xen offers)")
	name := set.String("name", "", "`name` of the guest in the audit (default: the value of --guest)")
	allowDigest := set.Bool("allow-digest", false, "allow reading a file whose security.ima is a digest, if the policy appraises reading")
	if err := parse(set, args, out, runAbout, "guest", "profile", "trust"); err != nil {
		return err
	}
	device, err := parseDevice(*disk)
	if err != nil {
		return err
	}
	if *heartbeat == 0 || max(*heartbeat, *startLimit, *initramfsLimit) > maxSeconds {
		return usagef("--heartbeat must be at least 1 second, and no limit may be more than %d", maxSeconds)
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
	g, err := waitForGuest(time.Duration(*wait)*time.Second, *guest, *trap, f.profile.Variables.XenVCPUInfo)
	if err != nil {
		return err
	}
	defer g.Close()
	if *state != "" && g.Identity() == "" {
		out.warn("the hypervisor's process cannot be identified: no other enforcer will be able to take this guest over")
	}
	s := session{files: &f, out: out, lines: make(chan func(), 16)}
	s.audit = enforcer.NewAudit(log, cmp.Or(*name, *guest), func(text string) { s.enqueue(text, out.warn) })
	go func() {
		for line := range s.lines {
			line()
		}
	}()
	if g, ok := g.(interface{ Chosen() string }); ok {
		s.log("event", g.Chosen(), out.info)
	}
	if g, ok := g.(interface{ Warnings() []string }); ok {
		for _, text := range g.Warnings() {
			s.log("warning", text, out.warn)
		}
	}
	if device == 0 {
		s.log("warning", "without --device, signed files count on every disk, also on disks that are attached later or created in the guest", out.warn)
	}
	if *noLockdown {
		s.log("warning", "without lockdown, root in the guest can change the kernel and switch appraisal off", out.warn)
	}
	auditComplete := func() error {
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
		Audit: s.audit.Hit, AuditComplete: auditComplete, Event: func(text string) { s.log("event", text, out.info) },
	}, trust))
}

// session guards one guest.
type session struct {
	files *files
	out   *output
	audit *enforcer.Audit
	lines chan func() // output that waits to be printed
}

// log adds a note to the audit and prints it.
func (s *session) log(note, text string, print func(string)) {
	s.audit.Note(note, text)
	s.enqueue(text, print)
}

// enqueue queues a text for printing. It drops the text if the queue is full, because a slow reader
// must not delay the guest.
func (s *session) enqueue(text string, print func(string)) {
	select {
	case s.lines <- func() { print(text) }:
	default:
	}
}

// guard guards the guest until it ends, and handles SIGHUP. Other signals end the process with
// their default action; an unanswered hit happens again for the next enforcer. A guest without
// traps is frozen before that. The exception is a guest in Hold: Hold does not return for a signal,
// and need not, because the guest gets no further without this process.
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
			s.out.warn(text + ", until another enforcer takes it over")
			signal.Reset(killed)
			_ = syscall.Kill(os.Getpid(), killed.(syscall.Signal))
		}
	}
}

// end writes a last note and closes the audit.
func (s *session) end(note, text string) {
	s.audit.Note(note, text)
	if err := s.audit.Close(auditLimit); err != nil {
		s.out.warn(err.Error())
	}
	if n := s.audit.Lost(); n > 0 {
		s.out.warn(fmt.Sprintf("%d audit records were lost", n))
	}
}

// reload reads the trust store and the deny list again. If one of them cannot be read, nothing
// changes.
func (s *session) reload(e *enforcer.Enforcer) {
	trust, err := s.files.loadTrust()
	if err != nil {
		s.log("reload-failed", "reloading: "+err.Error(), s.out.warn)
		return
	}
	e.SetTrust(trust)
	s.log("reload", fmt.Sprintf("%d trusted keys and %d denied digests are in use now", len(trust.Keys.Keys()), len(trust.Denied)), s.out.info)
}

func parseDevice(text string) (enforcer.Device, error) {
	if text == "" {
		return 0, nil
	}
	major, minor, ok := strings.Cut(text, ":")
	a, err1 := strconv.ParseUint(major, 10, 12)
	b, err2 := strconv.ParseUint(minor, 10, 20)
	if err := errors.Join(err1, err2); !ok || err != nil || a == 0 {
		return 0, usagef("--device: %q is not MAJOR:MINOR of a disk", text)
	}
	return enforcer.NewDevice(uint32(a), uint32(b)), nil
}
