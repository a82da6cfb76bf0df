package install

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

func TestMain(m *testing.M) {
	bed.Main(m, bed.Options{Name: "install", Short: "makes a release and installs it"})
}

const top = "../.." // of the repository

// run gives what a command prints, which has to succeed.
func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := bed.Output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// fails wants a command to end with this exit code, and gives all that it prints.
func fails(t testing.TB, code int, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != code {
		t.Fatalf("%s: %v, want exit code %d\n%s", strings.Join(cmd.Args, " "), err, code, out)
	}
	return string(out)
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// version is that of the newest release that the changelog names.
func version(t testing.TB) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^## \[(\d+\.\d+\.\d+)\]`).FindStringSubmatch(read(t, filepath.Join(top, "CHANGELOG.md")))
	if m == nil {
		t.Fatal("CHANGELOG.md names no release")
	}
	return m[1]
}

var released string // the commit

// commit is the one that is released: what HEAD was when a test first asked.
func commit(t testing.TB) string {
	t.Helper()
	bed.Need(t, "git")
	if released == "" {
		released = strings.TrimSpace(run(t, exec.Command("git", "-C", top, "rev-parse", "HEAD")))
	}
	return released
}

// A release is what scripts/release made.
type release struct{ dir, key string }

var made *release // that the tests share, for amd64

// theRelease makes it, once.
func theRelease(t testing.TB, tools ...string) *release {
	t.Helper()
	bed.Need(t, append([]string{"git", "openssl"}, tools...)...)
	if made == nil {
		r := &release{filepath.Join(bed.Folder(), "release"), filepath.Join(bed.Folder(), "release-key.pem")}
		run(t, exec.Command("openssl", "genrsa", "-out", r.key, "3072"))
		run(t, exec.Command(filepath.Join(top, "scripts/release"), version(t), "--commit", commit(t), "--arch", "amd64", "--key", r.key, "--out", r.dir))
		made = r
	}
	return made
}

// file finds the one file of the release that a pattern matches.
func (r *release) file(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(r.dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

var unpacked = map[string]map[string]string{} // what was unpacked already

// unpacked is the contents of the three forms of a package below a folder each, as they lie when installed: "deb", "rpm" and
// "tar".
func (r *release) unpacked(t testing.TB, name string) map[string]string {
	t.Helper()
	bed.Need(t, "dpkg-deb", "rpm")
	if dirs, ok := unpacked[name]; ok {
		return dirs
	}
	dirs := map[string]string{}
	for _, form := range []string{"deb", "rpm", "tar"} {
		dirs[form] = filepath.Join(bed.Folder(), name, form)
		if err := os.MkdirAll(filepath.Join(dirs[form], "usr"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, exec.Command("dpkg-deb", "-x", r.file(t, name+"_*_amd64.deb"), dirs["deb"]))
	run(t, exec.Command("tar", "-xzf", r.file(t, name+"-[0-9]*.tar.gz"), "--strip-components=1", "-C", dirs["tar"]+"/usr"))
	run(t, exec.Command("rpm", "--root", dirs["rpm"], "--dbpath", "/var/lib/rpm", "--install", r.file(t, name+"-[0-9]*.rpm")))
	if err := os.RemoveAll(filepath.Join(dirs["rpm"], "var")); err != nil { // rpm's database
		t.Fatal(err)
	}
	unpacked[name] = dirs
	return dirs
}
