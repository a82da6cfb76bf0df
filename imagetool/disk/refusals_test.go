package disk

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/internal/refusals"
)

// book has every refusal of the package, and who else refuses.
var book = refusals.Book{Makers: refusals.Makers{"refuse": {Argument: 1}, "problem": {Argument: 2}}}

func TestMain(m *testing.M) { os.Exit(book.Run(m)) }

func TestRefusalsTable(t *testing.T) { book.CheckTable(t, "REFUSALS.md") }

// wantRefused wants an image to be refused, for this reason among others, and each reason
// to be shared by another reader of tables, or to be written beside the refusal. It gives
// the one that a person is told.
func wantRefused(t *testing.T, path string, l *Layout, reason string) *RefusedError {
	t.Helper()
	told, found := l.Refused(AnyVolume), false
	for _, p := range l.Problems {
		found = found || strings.Contains(p.Reason, reason)
		book.Note(t, p.Reason, refusals.Verdict{Against: against(t, path, l, p.Volume)})
	}
	if told == nil || !found {
		t.Errorf("refused because of %v, want %q", told, reason)
	}
	return told
}

// against is what other readers have to say against a volume, or the whole disk.
func against(t *testing.T, path string, l *Layout, id volume.ID) string {
	t.Helper()
	if format := qemuFormats[l.Format]; format != "" {
		run(t, "", "qemu-img", "info", "-f", format, path)
		return "qemu-img reads it as " + format
	}
	if l.Format != "raw" {
		return ""
	}
	seen := partx(t, path, l.SectorSize)
	missing := !slices.ContainsFunc(seen, func(p partition) bool { return p.ID == id && p.Size > 0 })
	switch {
	case id == AnyVolume && len(seen) == 0:
		return "libblkid sees no partition"
	case id != AnyVolume && id != volume.WholeDisk && missing:
		return "libblkid sees no such partition: " + string(id)
	}
	return complaint(t, path)
}

// complaint is whether a tool that checks tables has any. They take sectors of 512 bytes
// for granted.
func complaint(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command(tool(t, "sgdisk"), "--verify", path).CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, "No problems found") && !strings.Contains(text, "MBR only") {
		t.Logf("sgdisk --verify: %v\n%s", err, out)
		return "sgdisk --verify finds problems"
	}
	out, err = exec.Command(tool(t, "sfdisk"), "--verify", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Logf("sfdisk --verify: %v\n%s", err, out)
		return "sfdisk --verify finds errors"
	}
	return ""
}
