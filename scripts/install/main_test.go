package install

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
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

// commit is the one that is released.
func commit(t testing.TB) string {
	t.Helper()
	bed.Need(t, "git")
	return strings.TrimSpace(run(t, exec.Command("git", "-C", top, "rev-parse", "HEAD")))
}

// A release is what scripts/release made.
type release struct{ dir, key, err string }

// made is the release that the tests share, for amd64.
var made = sync.OnceValue(func() (r release) {
	r.dir, r.key = filepath.Join(bed.Folder(), "release"), filepath.Join(bed.Folder(), "release-key.pem")
	out, err := exec.Command("openssl", "genrsa", "-out", r.key, "3072").CombinedOutput()
	if err == nil {
		changelog, _ := os.ReadFile(filepath.Join(top, "CHANGELOG.md"))
		v := regexp.MustCompile(`\d+\.\d+\.\d+`).Find(regexp.MustCompile(`(?m)^## \[\d+\.\d+\.\d+\]`).Find(changelog))
		out, err = exec.Command(filepath.Join(top, "scripts/release"), string(v), "--arch", "amd64", "--key", r.key, "--out", r.dir).CombinedOutput()
	}
	if err != nil {
		r.err = err.Error() + "\n" + string(out)
	}
	return r
})

// theRelease is made; where it cannot be the test fails.
func theRelease(t testing.TB, tools ...string) release {
	t.Helper()
	bed.Need(t, append([]string{"git", "openssl"}, tools...)...)
	r := made()
	if r.err != "" {
		t.Fatalf("scripts/release: %s", r.err)
	}
	return r
}

// file finds the one file of the release that a pattern matches.
func (r release) file(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(r.dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// unpacked is the contents of the three forms of a package below a folder each, all of them as they lie when installed: "deb",
// "rpm" and "tar".
func (r release) unpacked(t testing.TB, name string) map[string]string {
	t.Helper()
	bed.Need(t, "dpkg-deb", "rpm2cpio", "cpio")
	dirs := map[string]string{}
	for _, form := range []string{"deb", "rpm", "tar"} {
		dirs[form] = filepath.Join(bed.Dir(t), "root")
		if err := os.MkdirAll(filepath.Join(dirs[form], "usr"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, exec.Command("dpkg-deb", "-x", r.file(t, name+"_*_amd64.deb"), dirs["deb"]))
	run(t, exec.Command("tar", "-xzf", r.file(t, name+"-[0-9]*.tar.gz"), "--strip-components=1", "-C", dirs["tar"]+"/usr"))
	run(t, exec.Command("sh", "-c", `rpm2cpio "$0" | cpio --quiet -idm -D "$1"`, r.file(t, name+"-[0-9]*.rpm"), dirs["rpm"]))
	return dirs
}
