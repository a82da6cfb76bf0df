package hostile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/hostile/base"
	"github.com/vmseal/vmseal/scripts/hostile/mutate"
)

// TestMain lets the test be the helper, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == helperArgument {
		if err := help(os.Args[2:]); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestFaults runs what imagetool must never be like.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"exit 0", ""},
		{"echo error: refused >&2; exit 1", ""},
		{"exit 1", "failed without a message"},
		{"exit 2", "exit code 2"},
		{"kill -SEGV $$", "exit code -1"},
		{"echo panic: index out of range >&2; exit 2", "crash"},
		{"exec sleep 60", "too long"},
		{"x=$(head -c 300000000 /dev/zero | tr '\\0' x); exit 0", "too much memory"},
	} {
		limit := hung
		if c.want == "too long" {
			limit = 100 * time.Millisecond
		}
		r, err := run(t.Context(), limit, "sh", "-c", c.script)
		if err != nil {
			t.Fatal(err)
		}
		faults := strings.Join(r.faults(), "; ")
		if (c.want == "") != (faults == "") || !strings.Contains(faults, c.want) {
			t.Errorf("%s: faults %q, expected %q", c.script, faults, c.want)
		}
	}
}

// withoutChecksums makes an image in which every field can be changed.
func withoutChecksums(t *testing.T) *mutate.Image {
	t.Helper()
	if _, err := exec.LookPath("debugfs"); err != nil {
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	i := slices.IndexFunc(base.Recipes, func(r base.Recipe) bool { return r.Name == "no-csum" })
	im, err := base.Recipes[i].Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestJudge lets e2fsck and debugfs judge images in which something was changed
// that signing must not change.
func TestJudge(t *testing.T) {
	im := withoutChecksums(t)
	for _, c := range []struct{ name, debugfs, want string }{
		{"nothing", "quit", ""},
		{"label", "ea_set /hello security.ima x", ""},
		{"attribute", "ea_set /hello user.other x", "more changed than labels"},
		{"owner", "set_inode_field /hello uid 5", "more changed than labels"},
		{"time", "set_inode_field /hello mtime 5", "more changed than labels"},
		{"size", "set_inode_field /hello size 59", "more changed than labels"},
		{"name", "link /hello /another", "contents or its map changed"},
		{"links", "set_inode_field /hello links_count 9", "e2fsck"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			tr := newTrial(t, dir, im.Bytes)
			out := filepath.Join(dir, "signed")
			write(t, out, im.Bytes)
			if text, err := exec.Command("debugfs", "-w", "-R", c.debugfs, out).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			tr.judgeFile(t, out, c.want)
		})
	}
	t.Run("contents", func(t *testing.T) {
		dir := t.TempDir()
		tr := newTrial(t, dir, im.Bytes)
		changed := im.Clone()
		at := bytes.Index(changed, []byte("\x00\x07\x0e\x15\x1c\x23")) // from the pattern that files hold
		if at < 0 {
			t.Fatal("no contents found")
		}
		changed[at]++
		out := filepath.Join(dir, "signed")
		write(t, out, changed)
		tr.judgeFile(t, out, "contents or its map changed")
	})
}

func newTrial(t *testing.T, dir string, image []byte) *trial {
	t.Helper()
	inner := filepath.Join(dir, "trial")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(inner, "image")
	write(t, path, image)
	return &trial{result: &result{specimen: &specimen{bytes: image}}, dir: inner, image: path}
}

func (tr *trial) judgeFile(t *testing.T, path, want string) {
	t.Helper()
	signed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tr.judge(t.Context(), path, signed)
	faults := strings.Join(tr.faults, "; ")
	if tr.err != nil || (want == "") != (faults == "") || !strings.Contains(faults, want) {
		t.Errorf("error %v, faults %q, expected %q", tr.err, faults, want)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAgrees asks e2fsck about images that might be refused.
func TestAgrees(t *testing.T) {
	im := withoutChecksums(t)
	for command, want := range map[string]bool{
		"quit":                                 false,
		"set_inode_field /hello links_count 9": true, // e2fsck fails
		"set_super_value state 0":              true, // it would only look
	} {
		tr := newTrial(t, t.TempDir(), im.Bytes)
		if text, err := exec.Command("debugfs", "-w", "-R", command, tr.image).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if got := tr.agrees(t.Context()); got != want || tr.err != nil {
			t.Errorf("%s: e2fsck agrees: %v, want %v, error %v", command, got, want, tr.err)
		}
	}
}
