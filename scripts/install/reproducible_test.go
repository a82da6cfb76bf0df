package install

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestReproducible makes a release for the second time: of a clone in another folder, by somebody with other settings, and
// for arm64 with nothing in the cache of Go.
func TestReproducible(t *testing.T) {
	t.Run("amd64", func(t *testing.T) {
		r := theRelease(t)
		compare(t, r.dir, another(t, r.key, "amd64"))
	})
	t.Run("arm64", func(t *testing.T) {
		r := theRelease(t)
		first := filepath.Join(bed.Dir(t), "release")
		run(t, exec.Command(filepath.Join(top, "scripts/release"), version(t), "--commit", commit(t), "--arch", "arm64", "--key", r.key, "--out", first))
		compare(t, first, another(t, r.key, "arm64", "GOCACHE="+bed.Dir(t)))
	})
}

// another makes a release elsewhere, and gives its folder.
func another(t *testing.T, key, architecture string, environment ...string) string {
	t.Helper()
	dir := bed.Dir(t)
	clone, out := filepath.Join(dir, "a folder of another name"), filepath.Join(dir, "out")
	run(t, exec.Command("git", "clone", "--quiet", "--shared", top, clone))
	cmd := exec.Command("sh", "-c", `umask 077; exec scripts/release "$@"`, "sh", version(t), "--commit", commit(t), "--arch", architecture, "--key", key, "--out", out)
	cmd.Dir = clone
	cmd.Env = append(os.Environ(), "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "TMPDIR="+dir, "GOFLAGS=-buildvcs=true", "SOURCE_DATE_EPOCH=1")
	cmd.Env = append(cmd.Env, environment...)
	run(t, cmd)
	return out
}

// compare wants two folders to hold the same files.
func compare(t *testing.T, a, b string) {
	t.Helper()
	names := func(dir string) (all []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	first, second := names(a), names(b)
	if strings.Join(first, "\n") != strings.Join(second, "\n") || len(first) < 6 {
		t.Fatalf("%q and %q", first, second)
	}
	for _, name := range first {
		if x, y := read(t, filepath.Join(a, name)), read(t, filepath.Join(b, name)); !bytes.Equal([]byte(x), []byte(y)) {
			t.Errorf("%s: %d and %d bytes, which differ", name, len(x), len(y))
		}
	}
}

// TestSums verifies a release as scripts/README.md says.
func TestSums(t *testing.T) {
	r := theRelease(t)
	public := filepath.Join(bed.Dir(t), "public.pem")
	run(t, exec.Command("openssl", "pkey", "-in", r.key, "-pubout", "-out", public))
	verify := func(sums string) *exec.Cmd {
		return exec.Command("openssl", "dgst", "-sha256", "-verify", public, "-signature", filepath.Join(r.dir, "SHA256SUMS.sig"), sums)
	}
	run(t, verify(filepath.Join(r.dir, "SHA256SUMS")))
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = r.dir
	if out, entries := run(t, check), strings.Count(read(t, filepath.Join(r.dir, "SHA256SUMS")), "\n"); strings.Count(out, ": OK\n") != entries || entries != 8 {
		t.Errorf("%d lines\n%s", entries, out)
	}
	changed := filepath.Join(bed.Dir(t), "SHA256SUMS")
	text := strings.Replace(read(t, filepath.Join(r.dir, "SHA256SUMS")), "deb", "dep", 1)
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, 1, verify(changed))
}

// TestRefused: what cannot be released leaves nothing behind.
func TestRefused(t *testing.T) {
	bed.Need(t, "git")
	dir := bed.Dir(t)
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no version":    {[]string{"v0.1"}, "is not a version"},
		"not in log":    {[]string{"99.0.0"}, "CHANGELOG.md has no section [99.0.0]"},
		"no commit":     {[]string{version(t), "--commit", "nonsense"}, "there is no commit nonsense"},
		"no key":        {[]string{version(t), "--key", filepath.Join(dir, "key")}, "cannot be read"},
		"output exists": {[]string{version(t), "--out", dir}, "exists"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(dir, "out")
			got := fails(t, 1, exec.Command(filepath.Join(top, "scripts/release"), append([]string{"--out", out}, tt.args...)...))
			if !strings.Contains(got, "error: ") || !strings.Contains(got, tt.says) {
				t.Errorf("%s", got)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("there is an output")
			}
		})
	}
}
