package xen

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind says how traps are made.
type Kind string

// The kinds of traps. Auto is the one that fits the guest.
const Auto, Debug, Monitor Kind = "", "debug", "monitor"

// Options of Open.
type Options struct {
	Kind Kind
	Trap string // of Monitor: str, icebp or int3; empty for what this machine offers
	// Upcall is the per-CPU offset of the guest kernel's xen_vcpu_info. Without it, what
	// Debug traps and is not a trap of ours cannot be given back to a PV guest.
	Upcall uint64
}

// Open finds a domain by its name or number, takes what of this Xen fits it, and pauses
// it.
func Open(name string, o Options) (*Guest, error) {
	g := &Guest{hypervisor: new(hypervisor), lock: -1, traps: map[uint64]uint64{}, letGo: func() {}, Options: o}
	if g.open(); g.err == nil {
		g.begin(name)
	}
	if g.err != nil {
		err := fmt.Errorf("domain %s: %w", name, g.err)
		_ = g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Guest) begin(name string) {
	if g.find(name); g.err == nil {
		g.check("taking it, which another enforcer may have", g.take())
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	g.check("telling this boot from others", err)
	i, err := g.info()
	g.check(getInfo.doing, err)
	g.pv, g.vcpus = i.flags&flagHVM == 0, int(i.lastVCPU)+1
	g.frames, g.foreseen, g.asked = map[uint64][]byte{}, map[uint64][]byte{}, map[uint64][]uint64{}
	g.id = fmt.Sprintf("xen domain %d uuid %x boot %s", g.domain, i.handle, bytes.TrimSpace(boot))
	g.choose()
	g.check("reading "+g.notePath(), g.loadTraps())
	if g.err == nil {
		g.do(pauseDomain)
	}
}

// choose takes a facility, and touches nothing of the guest. A Xen in which debugging is not
// compiled in is refused, as it does not look at a virtual CPU that there is not: on that one
// a breakpoint would be the guest's, which dies of it.
func (g *Guest) choose() {
	switch {
	case g.Kind == Debug || g.Kind == Auto && g.pv:
		if g.Trap != "" && g.Trap != "int3" {
			g.check("choosing a trap", fmt.Errorf("a PV guest can have int3 alone, not %s", g.Trap))
		}
		g.f, g.chosen, g.code = &debug{g}, string(Debug), breakpoint
		if err := g.domctl(pauseVCPU, 1<<32-1); err != unix.EBUSY && err != unix.EINVAL {
			g.check("this Xen was built without CONFIG_GDBSX, it has no debugging calls", err)
		}
	case g.pv:
		g.check("watching it", errors.New("for PV guests Xen has no monitor"))
	case g.vcpus > slots:
		g.check("watching it", fmt.Errorf("it may have %d virtual CPUs, and Xen's ring has room for the hits of %d: create it with fewer (vcpus and maxvcpus)", g.vcpus, slots))
	default:
		m := newMonitor(g, g.Trap)
		g.f, g.chosen, g.code = m, "monitor "+m.trap.name, m.trap.code
	}
}

// Chosen says what Open took, and why.
func (g *Guest) Chosen() string {
	is := map[bool]string{true: "a PV guest, which Xen has no monitor for", false: "an HVM or PVH guest"}[g.pv]
	return fmt.Sprintf("domain %d is %s, on Xen %s: traps are of the kind %s", g.domain, is, g.release, g.chosen)
}

// firstReserved is DOMID_FIRST_RESERVED.
const firstReserved = 0x7ff0

// find takes a number, or looks for a name in xenstore.
func (g *Guest) find(name string) {
	n, err := strconv.ParseUint(name, 10, 16)
	if err != nil {
		n, err = lookUp(name)
	}
	if err == nil && (n == 0 || n >= firstReserved) {
		err = fmt.Errorf("%d is no guest", n)
	}
	g.check("finding it", err)
	g.domain = uint16(n)
}

// Messages of xenstore (XS_*, xen/include/public/io/xs_wire.h).
const (
	storeDirectory = 1
	storeRead      = 2
	storePayload   = 4096
)

// storeHeader is struct xsd_sockmsg, that begins them.
type storeHeader struct{ Kind, Request, Transaction, Length uint32 }

// lookUp gives the number of the domain that has a name in xenstore.
func lookUp(name string) (n uint64, err error) {
	f, err := os.OpenFile("/dev/xen/xenbus", os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("reaching xenstore: %w", err)
	}
	defer f.Close()
	domains, err := ask(f, storeDirectory, "/local/domain")
	if err != nil {
		return 0, fmt.Errorf("asking xenstore for /local/domain: %w", err)
	}
	found := slices.DeleteFunc(strings.Split(domains, "\x00"), func(id string) bool {
		got, err := ask(f, storeRead, "/local/domain/"+id+"/name")
		return err != nil || got != name
	})
	if len(found) != 1 {
		return 0, fmt.Errorf("there are %d domains of that name", len(found))
	}
	return strconv.ParseUint(found[0], 10, 16)
}

// ask sends xenstore one request and takes its reply.
func ask(f *os.File, kind uint32, path string) (string, error) {
	head := storeHeader{Kind: kind, Length: uint32(len(path) + 1)}
	msg, _ := binary.Append(nil, le, head)
	_, err := f.Write(append(append(msg, path...), 0))
	if err == nil {
		err = binary.Read(f, le, &head)
	}
	text := make([]byte, min(head.Length, storePayload))
	if err == nil {
		_, err = io.ReadFull(f, text)
	}
	if err == nil && (head.Kind != kind || head.Length > storePayload) {
		err = fmt.Errorf("it says %q", text)
	}
	return string(text), err
}

// stateDir holds, for each guarded domain, a file that says where its traps may lie:
// whoever takes the domain over or releases it reads that. It is in memory, as domains
// do not outlive dom0.
var stateDir = "/run/vmseal"

// note is such a file.
type note struct {
	Guest  string            `json:"guest"` // Guest.Identity
	Kind   string            `json:"kind"`
	Upcall uint64            `json:"upcall"` // Guest.Upcall, which who releases does not know
	Traps  map[uint64]uint64 `json:"traps"`  // frames of addresses
}

// take keeps other processes off the domain as long as this one has it open.
func (g *Guest) take() (err error) {
	_ = os.MkdirAll(stateDir, 0o700) // without which nothing can be made there
	if g.lock, err = unix.Open(fmt.Sprintf("%s/xen-%d.lock", stateDir, g.domain), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600); err == nil {
		err = unix.Flock(g.lock, unix.LOCK_EX|unix.LOCK_NB)
	}
	return err
}

func (g *Guest) notePath() string { return fmt.Sprintf("%s/xen-%d.traps", stateDir, g.domain) }

// saveTraps notes where traps are about to be. A trap that is noted need not be there.
func (g *Guest) saveTraps() error {
	text, _ := json.Marshal(note{g.id, g.chosen, g.Upcall, g.traps}) // of texts and numbers: never fails
	if err := os.WriteFile(g.notePath()+".tmp", text, 0o600); err != nil {
		return err
	}
	return os.Rename(g.notePath()+".tmp", g.notePath())
}

// loadTraps reads what another process has noted of this domain. A file of another
// domain that had this number counts as none.
func (g *Guest) loadTraps() error {
	var n note
	text, err := os.ReadFile(g.notePath())
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	again, _ := json.Marshal(n)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !bytes.Equal(again, text):
		return errors.New("it is not as it was written")
	case n.Guest != g.id:
		return nil
	case n.Kind != g.chosen:
		return fmt.Errorf("the domain has traps of the kind %s, not %s", n.Kind, g.chosen)
	}
	g.Upcall = cmp.Or(g.Upcall, n.Upcall)
	maps.Copy(g.traps, n.Traps)
	return nil
}
