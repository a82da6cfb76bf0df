package gdbstub

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	packetSize = 4096     // MAX_PACKET_LENGTH
	maxXML     = 64 << 10 // of a description; QEMU's has 10 KiB
	maxThreads = 4096     // virtual CPUs of any machine that QEMU has
)

// Dial opens the guest behind the unix socket of QEMU's -gdb.
func Dial(path string) (*Guest, error) {
	fd, err := dial(path)
	if err != nil {
		return nil, fmt.Errorf("connecting to QEMU at %s: %w", path, err)
	}
	return open(fd, identity(fd))
}

// OpenFD opens the guest at the other end of a socket pair. The descriptor is the
// Guest's from then on, also if there is an error.
func OpenFD(fd int) (*Guest, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil && kind != unix.SOCK_STREAM {
		err = errors.New("not a stream socket")
	}
	if err != nil {
		return nil, fmt.Errorf("descriptor %d for QEMU: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	return open(fd, "")
}

func open(fd int, id string) (*Guest, error) {
	g := &Guest{c: conn{fd: fd, patience: patience}, id: id, selected: -1}
	if err := g.open(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return g, nil
}

func (g *Guest) open() error {
	if err := g.c.sync(); err != nil {
		return fmt.Errorf("speaking to QEMU's gdb stub (it serves one debugger at a time): %w", err)
	}
	if err := g.checkSupported(); err != nil {
		return fmt.Errorf("asking what QEMU's gdb stub supports: %w", err)
	}
	if err := g.checkRegisters(); err != nil {
		return fmt.Errorf("reading the description of the registers: %w", err)
	}
	if err := g.listThreads(); err != nil {
		return fmt.Errorf("listing the virtual CPUs: %w", err)
	}
	return nil
}

// checkSupported also switches the stub to thread ids of the form pPID.TID.
func (g *Guest) checkSupported() error {
	p, err := g.c.ask("qSupported:multiprocess+")
	if err != nil {
		return err
	}
	for _, f := range strings.Split(string(p), ";") {
		if size, ok := strings.CutPrefix(f, "PacketSize="); ok {
			n, err := strconv.ParseUint(size, 16, 32)
			if err == nil && n >= packetSize {
				return nil
			}
		}
	}
	return fmt.Errorf("no packets of %d bytes: QEMU answered %q", packetSize, brief(p))
}

// listThreads finds the ids by which the stub names virtual CPUs.
func (g *Guest) listThreads() error {
	for next := "qfThreadInfo"; ; next = "qsThreadInfo" {
		p, err := g.c.ask("%s", next)
		switch {
		case err != nil:
			return err
		case string(p) == "l" && len(g.threads) > 0:
			return nil
		case len(p) < 2 || p[0] != 'm' || len(g.threads) > maxThreads:
			return fmt.Errorf("asked %s for number %d, QEMU answered %q", next, len(g.threads), brief(p))
		}
		for _, id := range strings.Split(string(p[1:]), ",") {
			if !threadID(id) {
				return fmt.Errorf("%q is no thread id", id)
			}
			g.threads = append(g.threads, id)
		}
	}
}

// threadID tells whether an id is one of pPID.TID, of hex digits.
func threadID(id string) bool {
	pid, tid, dot := strings.Cut(id, ".")
	pid, p := strings.CutPrefix(pid, "p")
	_, err1 := strconv.ParseUint(pid, 16, 32)
	_, err2 := strconv.ParseUint(tid, 16, 32)
	return p && dot && err1 == nil && err2 == nil
}

// checkRegisters reads the description of the registers, without which the stub
// refuses P, and checks that they are those that this package relies on.
func (g *Guest) checkRegisters() error {
	var target struct {
		Architecture string `xml:"architecture"`
		Include      []struct {
			Href string `xml:"href,attr"`
		} `xml:"include"`
	}
	if err := g.describe("target.xml", &target); err != nil {
		return err
	}
	if target.Architecture != "i386:x86-64" || len(target.Include) == 0 {
		return fmt.Errorf("the architecture is %q, not i386:x86-64 with a list of registers", target.Architecture)
	}
	var feature struct {
		Reg []struct {
			Name string `xml:"name,attr"`
			Bits int    `xml:"bitsize,attr"`
		} `xml:"reg"`
	}
	if err := g.describe(target.Include[0].Href, &feature); err != nil {
		return err
	}
	for i, name := range registerNames {
		switch {
		case i >= len(feature.Reg):
			return fmt.Errorf("register %d is missing, not %s", i, name)
		case feature.Reg[i].Name != name || feature.Reg[i].Bits != registerBits(i):
			return fmt.Errorf("register %d is %s of %d bits, not %s of %d",
				i, feature.Reg[i].Name, feature.Reg[i].Bits, name, registerBits(i))
		}
	}
	return nil
}

// describe reads one of the stub's XML documents.
func (g *Guest) describe(name string, into any) error {
	if len(name) > 64 || strings.ContainsAny(name, ":,#$}*") {
		return fmt.Errorf("a document is called %q", name)
	}
	var text []byte
	for len(text) < maxXML {
		p, err := g.c.ask("qXfer:features:read:%s:%x,%x", name, len(text), packetSize/2-8)
		if err != nil {
			return err
		}
		if len(p) == 0 || p[0] != 'l' && (p[0] != 'm' || len(p) == 1) {
			return fmt.Errorf("asked for %s, QEMU answered %q", name, brief(p))
		}
		text = append(text, unescape(p[1:])...)
		if p[0] == 'l' {
			if err := xml.Unmarshal(text, into); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("%s is longer than %d bytes", name, maxXML)
}

// unescape undoes, in place, the protocol's escape: '}' and the byte xor 0x20.
func unescape(p []byte) []byte {
	for i := bytes.IndexByte(p, '}'); i >= 0 && i+1 < len(p); i++ {
		if p[i] == '}' {
			p[i] = p[i+1] ^ 0x20
			p = append(p[:i+1], p[i+2:]...)
		}
	}
	return p
}
