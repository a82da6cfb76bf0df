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

// Kind is a kind of trap.
type Kind string

// The kinds of traps. Auto selects the kind that fits the guest.
const Auto, Debug, Monitor Kind = "", "debug", "monitor"

// Options are the options of Open.
type Options struct {
	Kind Kind
	Trap string // for Monitor: str, int3 or icebp; empty for the first that this machine offers
	// Upcall is the per-CPU offset of the guest kernel's xen_vcpu_info. Without it, Debug cannot
	// return exceptions to a PV guest that are not traps of ours.
	Upcall uint64
}

// Open finds a domain by name or number, chooses a facility of Xen for it, and pauses the domain.
func Open(name string, o Options) (*Guest, error) {
	g := &Guest{hypervisor: new(hypervisor), lock: -1, traps: map[uint64]uint64{}, unhold: func() {}, Options: o}
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
		g.check("locking it (another enforcer may guard it)", g.lockDomain())
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	g.check("reading the host's boot id", err)
	i, err := g.info()
	g.check(getInfo.doing, err)
	g.pv, g.vcpus = i.flags&flagHVM == 0, int(i.lastVCPU)+1
	g.frames, g.prefetched, g.asked = map[uint64][]byte{}, map[uint64][]byte{}, map[uint64][]uint64{}
	g.id = fmt.Sprintf("xen domain %d uuid %x boot %s", g.domain, i.handle, bytes.TrimSpace(boot))
	g.choose()
	g.check("reading "+g.notePath(), g.loadTraps())
	if g.err == nil {
		g.do(pauseDomain)
	}
}

// choose selects a facility without touching the guest. It refuses Debug if Xen was built without
// it: a breakpoint would then kill the guest. To find out, it pauses a vCPU that does not exist.
// Only a Xen with debugging calls checks the number of the vCPU.
func (g *Guest) choose() {
	switch {
	case g.Kind == Debug || g.Kind == Auto && g.pv:
		if g.Trap != "" && g.Trap != "int3" {
			g.check("choosing a trap", fmt.Errorf("a PV guest can only have int3, not %s", g.Trap))
		}
		g.f, g.chosen, g.code = &debug{g}, string(Debug), breakpoint
		if err := g.domctl(pauseVCPU, 1<<32-1); err != unix.EBUSY && err != unix.EINVAL {
			g.check("this Xen has no debugging calls (it was built without CONFIG_GDBSX)", err)
		}
	case g.pv:
		g.check("monitoring it", errors.New("there is no monitor for PV guests"))
	case g.vcpus > slots:
		g.check("monitoring it", fmt.Errorf("it may have %d vCPUs, but Xen's ring has room for the hits of %d: create it with fewer (vcpus and maxvcpus)", g.vcpus, slots))
	default:
		m := newMonitor(g, g.Trap)
		g.f, g.chosen, g.code = m, "monitor "+m.trap.name, m.trap.code
	}
}

// Chosen returns a text that says which kind of traps Open chose, and why.
func (g *Guest) Chosen() string {
	is := map[bool]string{true: "a PV guest, for which Xen has no monitor", false: "an HVM or PVH guest"}[g.pv]
	return fmt.Sprintf("domain %d on Xen %s is %s: its traps are of kind %s", g.domain, g.release, is, g.chosen)
}

// firstReserved is DOMID_FIRST_RESERVED.
const firstReserved = 0x7ff0

// find sets the domain from its number, or looks up its name in xenstore.
func (g *Guest) find(name string) {
	n, err := strconv.ParseUint(name, 10, 16)
	if err != nil {
		n, err = lookUp(name)
	}
	if err == nil && (n == 0 || n >= firstReserved) {
		err = fmt.Errorf("%d is not the number of a guest", n)
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

// storeHeader is struct xsd_sockmsg, the header of each message.
type storeHeader struct{ Kind, Request, Transaction, Length uint32 }

// lookUp returns the number of the domain with a name in xenstore.
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
		return 0, fmt.Errorf("there are %d domains with that name", len(found))
	}
	return strconv.ParseUint(found[0], 10, 16)
}

// ask sends one request to xenstore and returns its reply.
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
		err = fmt.Errorf("it answered %q", text)
	}
	return string(text), err
}

// stateDir holds a file for each guarded domain, with the addresses that may have traps. Whoever
// takes the domain over or releases it reads that file. The directory is in memory, because domains
// do not outlive dom0.
var stateDir = "/run/vmseal"

// note is the content of such a file.
type note struct {
	Guest  string            `json:"guest"` // Guest.Identity
	Kind   string            `json:"kind"`
	Upcall uint64            `json:"upcall"` // Guest.Upcall, which 'enforcer release' cannot know otherwise
	Traps  map[uint64]uint64 `json:"traps"`  // frame of each address
}

// lockDomain keeps other processes away from the domain as long as this process has it open.
func (g *Guest) lockDomain() (err error) {
	_ = os.MkdirAll(stateDir, 0o700) // if this fails, opening the lock file fails
	if g.lock, err = unix.Open(fmt.Sprintf("%s/xen-%d.lock", stateDir, g.domain), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600); err == nil {
		err = unix.Flock(g.lock, unix.LOCK_EX|unix.LOCK_NB)
	}
	return err
}

func (g *Guest) notePath() string { return fmt.Sprintf("%s/xen-%d.traps", stateDir, g.domain) }

// saveTraps records where traps are about to be written. A recorded trap may be missing.
func (g *Guest) saveTraps() error {
	text, _ := json.Marshal(note{g.id, g.chosen, g.Upcall, g.traps}) // never fails for strings and numbers
	if err := os.WriteFile(g.notePath()+".tmp", text, 0o600); err != nil {
		return err
	}
	return os.Rename(g.notePath()+".tmp", g.notePath())
}

// loadTraps reads what another process recorded about this domain. It ignores a file about an
// earlier domain with the same number.
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
		return errors.New("the file is damaged")
	case n.Guest != g.id:
		return nil
	case n.Kind != g.chosen:
		return fmt.Errorf("the domain has traps of kind %s, not %s", n.Kind, g.chosen)
	}
	g.Upcall = cmp.Or(g.Upcall, n.Upcall)
	maps.Copy(g.traps, n.Traps)
	return nil
}
