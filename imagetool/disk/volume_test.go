package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	typeLinux    = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
	typeSwap     = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
	typeESP      = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeBIOSBoot = "21686148-6449-6E6F-744E-656564454649"
	typePReP     = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"
	typeReserved = "8DA63339-0007-60C0-C436-083AC8230908"
	typeVerity   = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"
	typeSig      = "41092B05-9FC8-4523-994F-2DEF0408B176"
)

// content makes what a partition of 8 MiB can hold, with the tools that people use.
func content(t *testing.T, kind string) []byte {
	t.Helper()
	path := sparse(t, 8*mib)
	switch kind {
	case "zeros":
	case "swap":
		run(t, "", "mkswap", path)
	case "FAT":
		run(t, "", "mkfs.fat", path)
	case "FAT and LVM":
		run(t, "", "mkfs.fat", path)
		poke(t, path, 512, []byte("LABELONE"))
	case "verity":
		run(t, "", "veritysetup", "format", sparse(t, mib), path)
	case "a byte at the end":
		poke(t, path, -1, []byte("x"))
	default: // what begins so
		poke(t, path, 0, []byte(kind))
	}
	return data(t, path)
}

// TestInert: the type of a partition and what it holds have to agree that nothing can be
// executed from it.
func TestInert(t *testing.T) {
	tests := []struct{ typ, content, want string }{
		{typeLinux, "zeros", "empty"},
		{"0x83", "zeros", "empty"},
		{typeLinux, "a byte at the end", ""},
		{typeLinux, "swap", ""},
		{typeLinux, "FAT", ""},
		{typeSwap, "swap", "swap"},
		{strings.ToLower(typeSwap), "swap", "swap"},
		{"0x82", "swap", "swap"},
		{typeSwap, "XFSB", ""},
		{typeSwap, "a byte at the end", ""},
		{typeESP, "FAT", "EFI system partition"},
		{"0xef", "FAT", "EFI system partition"},
		{"0x0c", "FAT", ""},
		{typeESP, "FAT and LVM", ""},
		{typeESP, "XFSB", ""},
		{typeESP, "swap", ""},
		{typeBIOSBoot, "\xeb\x63\x90 GRUB", "BIOS boot partition"},
		{typeBIOSBoot, "XFSB", ""},
		{typeBIOSBoot, "FAT", ""},
		{typeBIOSBoot, "a byte at the end", ""},
		{typePReP, "\x7fELF\x01\x02", "PReP boot partition"},
		{"0x41", "\x7fELF\x01\x02", "PReP boot partition"},
		{typePReP, "\xeb\x63\x90 GRUB", ""},
		{typeReserved, "unknown", "Linux reserved partition"},
		{typeReserved, "hsqs", ""},
		{typeVerity, "verity", "root-verity (x86-64)"},
		{typeVerity, "hsqs", ""},
		{typeLinux, "verity", ""},
		{typeSig, `{"rootHash":"00"}`, "root-verity-sig (x86-64)"},
		{typeSig, "unknown", ""},
	}
	contents := map[string][]byte{}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s with %q", test.typ, test.content), func(t *testing.T) {
			if contents[test.content] == nil {
				contents[test.content] = content(t, test.content)
			}
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, contents[test.content], 0o600); err != nil {
				t.Fatal(err)
			}
			dev := device(t, path)
			in, err := newView(dev, 0)
			if err != nil {
				t.Fatal(err)
			}
			kinds, err := in.found()
			if err != nil {
				t.Fatal(err)
			}
			v := Volume{ID: "1", Size: dev.Size(), Type: test.typ}
			if len(kinds) > 0 {
				v.FS = kinds[0]
			}
			got, err := v.Inert(context.Background(), dev)
			if err != nil || got != test.want {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// TestVerityTypes compares the table with that of libfdisk.
func TestVerityTypes(t *testing.T) {
	line := regexp.MustCompile(`(?m)^([0-9A-F-]{36})  Linux (root|/usr)( verity sign\.| verity)? \((.+)\)$`)
	data, n := map[string]string{}, 0
	all := line.FindAllStringSubmatch(run(t, "", "sfdisk", "--label=gpt", "--list-types"), -1)
	for _, m := range all {
		if m[3] == "" {
			data[m[2]+m[4]] = m[1]
		}
	}
	for _, m := range all {
		got, ok := Volume{Type: m[1]}.VerityType()
		if ok != (m[3] != "") {
			t.Errorf("%s: %v", m[0], got)
		}
		if !ok {
			continue
		}
		n++
		want := VerityType{strings.TrimPrefix(m[2], "/"), m[4], strings.Contains(m[3], "sign"), data[m[2]+m[4]]}
		if got != want {
			t.Errorf("%s: %+v, want %+v", m[0], got, want)
		}
	}
	if n == 0 {
		t.Error("sfdisk lists no type for dm-verity")
	}
}
