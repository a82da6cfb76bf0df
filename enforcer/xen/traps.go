package xen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// stateDir holds, for each guarded domain, a file that says where its traps may lie:
// whoever takes the domain over or releases it reads that. It is in memory, as domains
// do not outlive dom0.
var stateDir = "/run/vmseal"

// trapsHead begins such a file; the identity of the domain and the kind of its traps
// follow, then an address and its frame a line.
const trapsHead = "vmseal-xen-traps 1\n"

func (g *Guest) trapsPath() string {
	return filepath.Join(stateDir, fmt.Sprintf("xen-%d.traps", g.domain))
}

// saveTraps notes where traps are about to be. A trap that is noted need not be there.
func (g *Guest) saveTraps() error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s%s\n%s\n", trapsHead, g.id, g.kind)
	for addr, frame := range g.traps {
		fmt.Fprintf(&text, "%x %x\n", addr, frame)
	}
	tmp := g.trapsPath() + ".tmp"
	err := os.MkdirAll(stateDir, 0o700)
	if err == nil {
		err = os.WriteFile(tmp, []byte(text.String()), 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, g.trapsPath())
	}
	if err != nil {
		return fmt.Errorf("noting the traps: %w", err)
	}
	return nil
}

// loadTraps reads what another process has noted of this domain. A file of another
// domain that had this number counts as none.
func (g *Guest) loadTraps() error {
	text, err := os.ReadFile(g.trapsPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(string(text), trapsHead+g.id+"\n")
	if !ok {
		return nil
	}
	kind, rest, _ := strings.Cut(rest, "\n")
	if kind != g.kind {
		return fmt.Errorf("%s: the domain has traps of the kind %s, not %s", g.trapsPath(), kind, g.kind)
	}
	for line := range strings.Lines(rest) {
		var addr, frame uint64
		if n, err := fmt.Sscanf(line, "%x %x\n", &addr, &frame); err != nil || n != 2 {
			return fmt.Errorf("%s: %q is not an address and a frame", g.trapsPath(), line)
		}
		g.traps[addr] = frame
	}
	return nil
}

func (g *Guest) forgetTraps() error { return os.Remove(g.trapsPath()) }
