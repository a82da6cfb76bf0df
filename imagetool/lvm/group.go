package lvm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/volume"
)

// A metadata is what a text says of a volume group. Sizes are in sectors of 512 bytes.
type metadata struct {
	name, id   string
	seqno      int64
	extentSize int64
	refused    *RefusedError // the group as a whole
	members    []member
	volumes    []logical
	taken      []span // all extents that any volume has, also one that is refused or hidden
}

// A member is a physical volume of the group.
type member struct {
	key           string // its section
	id            string
	missing       bool
	start, extent int64 // pe_start in sectors, pe_count
}

// A span is extents of a member that a volume has.
type span struct {
	member    int
	at, count int64
	volume    string
}

const (
	contentsField = "Text Format Volume Group" // CONTENTS_VALUE
	textVersion   = 1                          // FORMAT_VERSION_VALUE
)

// parseGroup reads a text as _read_vg of lib/format_text/import_vsn1.c does. An error
// says that LVM2 would not take it.
func parseGroup(text []byte) (*metadata, error) {
	root, err := parseText(text)
	if err != nil {
		return nil, err
	}
	if contents, _ := root.text("contents"); contents != contentsField {
		return nil, fmt.Errorf("its contents are %q", contents)
	}
	if version, err := root.number("version"); err != nil || version != textVersion {
		return nil, fmt.Errorf("it is not of version %d", textVersion)
	}
	if len(root.sections) != 1 {
		return nil, fmt.Errorf("it has %d volume groups", len(root.sections))
	}
	g := root.sections[0]
	m := &metadata{name: g.name}
	if err := m.read(g); err != nil {
		return nil, fmt.Errorf("volume group %s: %w", m.name, err)
	}
	return m, nil
}

func (m *metadata) read(g *section) (err error) {
	if err := volume.CheckName(m.name); err != nil {
		return err
	}
	if m.id, err = readID(g); err != nil {
		return err
	}
	if m.seqno, err = g.number("seqno"); err != nil {
		return err
	}
	if m.extentSize, err = g.number("extent_size"); err != nil {
		return err
	}
	if m.extentSize < 1 || m.extentSize > maxUint32 {
		return fmt.Errorf("its extents have %d sectors", m.extentSize)
	}
	if m.refused, err = refusedGroup(g); err != nil {
		return err
	}
	physical := g.section("physical_volumes")
	if physical == nil {
		return errors.New("it has no physical volumes")
	}
	keys := map[string]int{}
	for i, s := range physical.sections {
		p, err := readMember(s)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(m.members, func(x member) bool { return x.id == p.id }) {
			return fmt.Errorf("physical volume %s is there twice", s.name)
		}
		keys[s.name] = i
		m.members = append(m.members, p)
	}
	return (&volumeReader{metadata: m, keys: keys}).read(g)
}

// maxUint32 bounds what LVM2 keeps in 32 bits: sizes of extents, and counts of them.
const maxUint32 = 1<<32 - 1

// readID reads an id as id_write_format writes it: with dashes, which labels have not.
func readID(s *section) (string, error) {
	id, _ := s.text("id")
	if id = strings.ReplaceAll(id, "-", ""); len(id) != idLength || strings.ContainsFunc(id, isNotID) {
		return "", fmt.Errorf("%s has no id", s.name)
	}
	return id, nil
}

// isNotID tells what id_valid of lib/uuid/uuid.c does not take.
func isNotID(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '!' || r == '#')
}

func readMember(s *section) (m member, err error) {
	m = member{key: s.name}
	if m.id, err = readID(s); err != nil {
		return m, err
	}
	if m.start, err = s.number("pe_start"); err != nil {
		return m, err
	}
	if m.extent, err = s.number("pe_count"); err != nil {
		return m, err
	}
	status, err := readFlags(s, memberFlags)
	m.missing = slices.Contains(status, "MISSING")
	return m, err
}

// The status flags of lib/format_text/flags.c. LVM2 takes no metadata that has others;
// those among the "flags" it may leave aside.
var (
	groupFlags  = []string{"EXPORTED", "RESIZEABLE", "PVMOVE", "READ", "WRITE", "CLUSTERED", "SHARED", "PARTIAL"}
	memberFlags = []string{"ALLOCATABLE", "EXPORTED", "MISSING"}
	volumeFlags = []string{"READ", "WRITE", "FIXED_MINOR", "VISIBLE", "PVMOVE", "LOCKED", "NOTSYNCED", "REBUILD", "WRITEMOSTLY", "CACHE_VOL",
		// these are kept in the types of segments, and were once kept here
		"RESHAPE", "RESHAPE_DATA_OFFSET", "RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE",
		"METADATA_FORMAT", "CROP_METADATA", "CACHE_USES_CACHEVOL"}
)

// readFlags gives the flags of both lists. A status has known ones only.
func readFlags(s *section, known []string) ([]string, error) {
	if _, ok := s.find("status"); !ok {
		return nil, fmt.Errorf("%s has no status", s.name)
	}
	status, err := s.texts("status")
	if err != nil {
		return nil, err
	}
	for _, flag := range status {
		if !slices.Contains(known, flag) {
			return nil, fmt.Errorf("%s has the unknown status %q", s.name, flag)
		}
	}
	flags, err := s.texts("flags")
	return append(status, flags...), err
}

// refusedGroup is why a group is not read that others may be using, or whose metadata is
// not all that there is to know.
func refusedGroup(g *section) (*RefusedError, error) {
	flags, err := readFlags(g, groupFlags)
	if err != nil {
		return nil, err
	}
	lock, _ := g.text("lock_type")
	host, _ := g.text("system_id")
	format, hasFormat := g.text("format")
	is := func(flag string) bool { return slices.Contains(flags, flag) }
	switch {
	case hasFormat && format != "lvm2":
		// Needed: it is an archive of another kind of metadata.
		return refuse("its format is %q", format), nil
	case is("EXPORTED"):
		// Needed: LVM2 gives nobody the volumes of an exported group.
		return refuse("it is exported"), nil
	case is("PARTIAL"):
		// Needed: it is an archive of a group that was not whole.
		return refuse("it is partial"), nil
	case is("CLUSTERED"), is("SHARED"), lock != "" && lock != "none":
		// Needed: other hosts have the volumes too, and the locks lie elsewhere.
		return refuse("it is locked by a host: several of them share it (lock type %q)", lock), nil
	case host != "":
		// Needed: LVM2 itself lets no other host touch the volumes.
		return refuse("it is locked by a host: it belongs to the one with the system id %q", host), nil
	}
	return nil, nil
}
