package xen

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
)

// Kind says how traps are made.
type Kind string

// The kinds of traps.
const (
	Auto    Kind = ""
	Debug   Kind = "debug"
	Monitor Kind = "monitor"
)

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
	h, err := openHypervisor()
	if err != nil {
		return nil, err
	}
	g := &Guest{h: h, traps: map[uint64]uint64{}, Upcall: o.Upcall}
	if err := g.begin(name, o); err != nil {
		g.Close()
		return nil, fmt.Errorf("domain %s: %w", name, err)
	}
	return g, nil
}

func (g *Guest) begin(name string, o Options) error {
	i, err := g.find(name)
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	g.pv, g.vcpus = !i.hvm(), int(i.lastVCPU)+1
	g.m = memory{h: g.h, domain: g.domain, fixed: g.pv, frames: map[uint64][]byte{}}
	g.id = fmt.Sprintf("xen domain %d uuid %s boot %s", g.domain, hex.EncodeToString(i.handle[:]), bytes.TrimSpace(boot))
	if err := g.choose(o); err != nil {
		return err
	}
	if err := g.loadTraps(); err != nil {
		return err
	}
	return g.pause()
}

// choose takes a facility, and touches nothing of the guest.
func (g *Guest) choose(o Options) error {
	kind := o.Kind
	if kind == Auto {
		kind = Monitor
		if g.pv {
			kind = Debug
		}
	}
	switch {
	case kind == Debug:
		d := &debug{g: g}
		g.kind, g.f = string(Debug), d
		return d.probe()
	case g.pv:
		return fmt.Errorf("it is a PV guest, which Xen has no monitor for")
	}
	m, err := newMonitor(g, o.Trap)
	if err != nil {
		return err
	}
	g.kind, g.f = "monitor "+m.trap.name, m
	return nil
}

// Chosen says what Open took.
func (g *Guest) Chosen() string {
	guestKind := "an HVM or PVH guest"
	if g.pv {
		guestKind = "a PV guest"
	}
	return fmt.Sprintf("domain %d is %s on Xen %s: traps are of the kind %s", g.domain, guestKind, g.h.v.release, g.kind)
}

// find looks for a number, or for a name that a domain has in xenstore.
func (g *Guest) find(name string) (info, error) {
	if n, err := strconv.ParseUint(name, 10, 16); err == nil && n > 0 && n < firstReserved {
		g.domain = uint16(n)
		return g.h.info(g.domain)
	}
	var found []uint16
	store, err := openStore()
	if err != nil {
		return info{}, err
	}
	defer store.close()
	ids, err := store.list("/local/domain")
	if err != nil {
		return info{}, err
	}
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 16)
		if err != nil || n == 0 {
			continue
		}
		if got, err := store.read("/local/domain/" + id + "/name"); err == nil && got == name {
			found = append(found, uint16(n))
		}
	}
	if len(found) != 1 {
		return info{}, fmt.Errorf("there are %d domains of that name", len(found))
	}
	g.domain = found[0]
	return g.h.info(g.domain)
}

// firstReserved is DOMID_FIRST_RESERVED.
const firstReserved = 0x7ff0
