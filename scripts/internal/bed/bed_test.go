package bed

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// partEnv has a copy of this test program be a test program that stands on the bed; its value is what it does there.
const partEnv = "BED_TEST_PART"

func TestMain(m *testing.M) {
	if os.Getenv(partEnv) != "" {
		Main(m, Options{Name: "bed", Short: "it is not asked for"})
	}
	os.Exit(m.Run())
}

// part is the copy of this program, which does something in a temporary folder that the test gives it. Its commands are
// the system's.
func part(t *testing.T, tmp, does string, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-test.run", "^TestPart$", "-test.v"}, flags...)...)
	cmd.Env = append(os.Environ(), partEnv+"="+does, "TMPDIR="+tmp, "VMSEAL_BIN=/usr/bin")
	return cmd
}

// TestPart is what the copies run.
func TestPart(t *testing.T) {
	does := os.Getenv(partEnv)
	if does == "" {
		t.Skip("run by TestMounts, TestInterrupt and TestSkips")
	}
	Need(t)
	dir := Dir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || !strings.Contains(string(mounts), " "+dir+" ") {
		t.Fatalf("nothing is mounted at %s: %v", dir, err)
	}
	fmt.Println("mounted", dir)
	switch does {
	case "wait":
		awaitEnd(t)
	case "fail":
		t.Error("as told")
	case "crash":
		go panic("as told")
		awaitEnd(t)
	}
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Error(err)
	}
}

// awaitEnd waits for what ends the process.
func awaitEnd(t *testing.T) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Read(make([]byte, 1))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for a mount namespace")
	}
}

func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestMounts: what a test mounts is not seen outside, its temporary folder goes, and its exit code comes through.
func TestMounts(t *testing.T) {
	needRoot(t)
	for does, code := range map[string]int{"mount": 0, "fail": 1, "crash": 1} {
		tmp := t.TempDir()
		cmd := part(t, tmp, does)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(string(out), "mounted "+tmp+"/vmseal-bed-") {
			t.Errorf("%s: exit code %d, want %d:\n%s", does, got, code, out)
		}
		expectEmpty(t, tmp)
	}
}

// TestInterrupt interrupts a run in the middle: neither a mount nor a file of it stays.
func TestInterrupt(t *testing.T) {
	needRoot(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT} {
		tmp := t.TempDir()
		cmd := part(t, tmp, "wait")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = cmd.Stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(stdout)
		dir := ""
		for dir == "" {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("waiting for the mount: %v", err)
			}
			dir, _ = strings.CutPrefix(strings.TrimSpace(line), "mounted ")
			if !strings.HasPrefix(dir, tmp) {
				dir = ""
			}
		}
		if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) {
			t.Errorf("the mount at %s is seen outside, %v", dir, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(r)
		if sig == syscall.SIGQUIT && !strings.Contains(string(rest), "bed.TestPart") {
			t.Errorf("%v does not tell where the test stands:\n%s", sig, rest)
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%v: %v, want exit code 1", sig, err)
		}
		expectEmpty(t, tmp)
	}
}

// TestSkips: a test that cannot run says why; where the tools are required, it fails.
func TestSkips(t *testing.T) {
	out, err := part(t, t.TempDir(), "mount", "-test.short").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-short: it is not asked for") || strings.Contains(string(out), "mounted ") {
		t.Errorf("%v:\n%s", err, out)
	}
	for required, word := range map[string]string{"": "skips", "1": "fails"} {
		t.Setenv("VMSEAL_REQUIRE_TOOLS", required)
		r := &recorder{TB: t}
		func() {
			defer func() { recover() }()
			Need(r, "sh", "no-such-tool")
		}()
		if want := word + ": no-such-tool is not installed"; r.said != want {
			t.Errorf("VMSEAL_REQUIRE_TOOLS=%s: %q, want %q", required, r.said, want)
		}
	}
}

// recorder keeps how a test ended.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Skipf(format string, args ...any) {
	r.said = "skips: " + fmt.Sprintf(format, args...)
	panic(r)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.said = "fails: " + fmt.Sprintf(format, args...)
	panic(r)
}

// TestAsNobody: a command that runs as nobody keeps nothing of root.
func TestAsNobody(t *testing.T) {
	needRoot(t)
	Use(t.TempDir(), "/usr/bin")
	out, err := Output(AsNobody("cat", "/proc/self/status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "\nGroups:\t \n",
		"CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// TestEnvironment: what would change a command's output does not reach it.
func TestEnvironment(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	t.Setenv("VMSEAL_PASSPHRASE", "secret")
	t.Setenv("BED_TEST_OTHER", "stays")
	env := Environment("VMSEAL_STATE_DIR=/given")
	if !slices.Contains(env, "BED_TEST_OTHER=stays") || !slices.Contains(env, "VMSEAL_STATE_DIR=/given") {
		t.Errorf("something is missing: %q", env)
	}
	if all := strings.Join(env, "\n"); strings.Contains(all, "SOURCE_DATE_EPOCH") || strings.Contains(all, "PASSPHRASE") {
		t.Errorf("something is too much: %q", env)
	}
}

// TestOutput: a command that fails is told with what it said, shortened if need be.
func TestOutput(t *testing.T) {
	out, err := Output(Peer("sh", "-c", "echo $LC_ALL; echo aside >&2"))
	if string(out) != "C.UTF-8\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	path := filepath.Join(t.TempDir(), "out")
	if err := OutputTo(path, Peer("sh", "-c", "printf kept; echo aside >&2")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); string(b) != "kept" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	for name, run := range map[string]func(*exec.Cmd) error{
		"Output":   func(cmd *exec.Cmd) error { _, err := Output(cmd); return err },
		"OutputTo": func(cmd *exec.Cmd) error { return OutputTo(path, cmd) },
	} {
		err := run(Peer("sh", "-c", "yes | head -n 10000 >&2; echo the end >&2; exit 3"))
		if err == nil || !strings.HasPrefix(err.Error(), "sh -c ") || !strings.Contains(err.Error(), ": exit status 3\ny\n") ||
			!strings.HasSuffix(err.Error(), "\nthe end\n") || len(err.Error()) > 7000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
