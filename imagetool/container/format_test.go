package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIdentify: name and magic number have to agree, or somebody has to say what it is.
func TestIdentify(t *testing.T) {
	const qcow2, vmdk, vhd, vdi = "QFI\xfb", "KDMV", "conectix", "\x7f\x10\xda\xbe"
	for _, c := range []struct {
		name, head, tail string
		said, want       Format
		refused          string
	}{
		{name: "disk.img", want: Raw},
		{name: "disk.raw", want: Raw},
		{name: "disk", want: Raw},
		{name: "disk.qcow2", head: qcow2, want: QCOW2},
		{name: "DISK.QCOW2", head: qcow2, want: QCOW2},
		{name: "disk.vmdk", head: vmdk, want: VMDK},
		{name: "disk.vmdk", head: "# Disk DescriptorFile\n", want: VMDK},
		{name: "disk.vhd", head: vhd, want: VPC},
		{name: "disk.vhd", tail: vhd, want: VPC},
		{name: "disk.vpc", tail: vhd, want: VPC},
		{name: "disk.vhdx", head: "vhdxfile", want: VHDX},
		{name: "disk.vdi", head: strings.Repeat(" ", 64) + vdi, want: VDI},
		{name: "disk.qcow2", head: qcow2, tail: vhd, want: QCOW2}, // a guest may have written the end

		{name: "disk.img", head: qcow2, refused: "it has the header of qcow2, and its name does not say so"},
		{name: "disk", tail: vhd, refused: "it has the header of vpc, and its name does not say so"},
		{name: "disk.raw", head: qcow2, refused: "its name says raw, and it has the header of qcow2"},
		{name: "disk.qcow2", refused: "its name says qcow2, and it has the header of no container"},
		{name: "disk.vmdk", head: qcow2, tail: vhd, refused: "its name says vmdk, and it has the header of qcow2 and of vpc"},

		{name: "disk.img", head: qcow2, said: Raw, want: Raw},
		{name: "disk.qcow2", said: Raw, want: Raw},
		{name: "disk.img", head: qcow2, said: QCOW2, want: QCOW2},
		{name: "disk.vmdk", head: qcow2, said: QCOW2, want: QCOW2},
		{name: "disk.qcow2", head: qcow2, said: VMDK, refused: "--format says vmdk, and it has the header of qcow2"},
		{name: "disk.img", said: VDI, refused: "--format says vdi, and it has the header of no container"},
	} {
		path := filepath.Join(t.TempDir(), c.name)
		text := c.head + strings.Repeat("\x00", 4096-len(c.head)-512) + c.tail + strings.Repeat("\x00", 512-len(c.tail))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := identify(open(t, path), c.said)
		switch {
		case c.refused != "" && (err == nil || !strings.HasPrefix(err.Error(), c.refused)):
			t.Errorf("%+v: %v", c, err)
		case c.refused == "" && (err != nil || got != c.want):
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestParseFormat(t *testing.T) {
	for name, want := range map[string]Format{"": "", "raw": Raw, "qcow2": QCOW2, "vpc": VPC, "vhd": VPC} {
		if got, err := ParseFormat(name); got != want || err != nil {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"qcow", "QCOW2", "json:{}", "nbd"} {
		if f, err := ParseFormat(name); err == nil {
			t.Errorf("%q is %q", name, f)
		}
	}
}
