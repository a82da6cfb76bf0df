package initrd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/policy"
)

// tool skips the test where an outside tool is missing, and fails it where every
// tool has to be there.
func tool(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
				t.Fatalf("%s is not installed", name)
			}
			t.Skipf("%s is not installed", name)
		}
	}
}

func debian(t *testing.T) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(DebianPolicy))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func output(t *testing.T, stdin []byte, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Dir = bytes.NewReader(stdin), dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return out
}

// TestDebianPolicy holds the policy that is given out to more than is required.
func TestDebianPolicy(t *testing.T) {
	if names := debian(t).Unappraised(); names != nil {
		t.Errorf("not appraised: %q", names)
	}
}

// TestUnpack lets gzip and cpio read an overlay.
func TestUnpack(t *testing.T) {
	tool(t, "gzip", "cpio")
	p := debian(t)
	overlay := Overlay(p, Options{})
	if len(overlay)%4 != 0 {
		t.Errorf("%d bytes are no multiple of 4", len(overlay))
	}
	archive := output(t, overlay, "", "gzip", "-dc")

	list := strings.Split(strings.TrimSpace(string(output(t, archive, "", "cpio", "--quiet", "-itvn"))), "\n")
	var got []string
	for _, line := range list { // mode, links, owner, group, size, date in three words, name
		word := strings.Fields(line)
		got = append(got, strings.Join([]string{word[0], word[2], word[3], word[7], word[8]}, " "))
	}
	want := "drwxr-xr-x 0 0 1970 proc, drwxr-xr-x 0 0 1970 sys, -rwxr-xr-x 0 0 1970 vmseal-init, -r--r--r-- 0 0 1970 vmseal-policy"
	if joined := strings.Join(got, ", "); joined != want {
		t.Errorf("got %s, want %s", joined, want)
	}

	dir := t.TempDir()
	output(t, archive, dir, "cpio", "--quiet", "-i", "--no-preserve-owner")
	for name, want := range map[string]string{
		"vmseal-init":   initScript,
		"vmseal-policy": strings.Join(p.Rules(), "\n") + "\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %v, %q", name, err, got)
		}
	}
}

// TestUnlocked: without lockdown the overlay has the same script, less what looks at it.
func TestUnlocked(t *testing.T) {
	tool(t, "gzip", "cpio")
	archive := output(t, Overlay(debian(t), Options{NoLockdown: true}), "", "gzip", "-dc")
	dir := t.TempDir()
	output(t, archive, dir, "cpio", "--quiet", "-i", "--no-preserve-owner")
	got, err := os.ReadFile(filepath.Join(dir, "vmseal-init"))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(initScript, "# Without lockdown,")
	_, after, ok := strings.Cut(rest, "esac\n\n")
	if !ok || string(got) != before+after {
		t.Errorf("the script is\n%s", got)
	}
	if strings.Contains(string(got), lockdown) || strings.Count(initScript, lockdown) != 1 {
		t.Error("lockdown is looked at in another place, too")
	}
}

// TestSameBytes holds the archive to what cpio makes of the same files, and an
// overlay to the one before.
func TestSameBytes(t *testing.T) {
	tool(t, "gzip", "cpio")
	overlay := Overlay(debian(t), Options{})
	if !bytes.Equal(overlay, Overlay(debian(t), Options{})) {
		t.Error("two overlays of one policy differ")
	}
	archive := output(t, overlay, "", "gzip", "-dc")
	dir := t.TempDir()
	output(t, archive, dir, "cpio", "--quiet", "-im", "--no-preserve-owner")
	names := []byte("proc\nsys\nvmseal-init\nvmseal-policy\n")
	theirs := output(t, names, dir, "cpio", "--quiet", "-o", "-H", "newc", "--reproducible", "-R", "+0:+0")
	// cpio fills the last block with zeros.
	if rest, ok := bytes.CutPrefix(theirs, archive); !ok || len(bytes.Trim(rest, "\x00")) > 0 {
		t.Errorf("got\n%q\ncpio makes\n%q", archive, theirs)
	}
}
