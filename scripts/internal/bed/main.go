package bed

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
)

// insideEnv marks the copy of a test program that runs in its own mount namespace, and tells it the temporary folder.
const insideEnv = "VMSEAL_BED_INSIDE"

// Options of a test program.
type Options struct {
	Name  string   // of its temporary folder
	Short string   // why -short leaves its tests out
	Build []string // packages of this module: commands of the tests' own, which VMSEAL_BIN does not have
}

const module = "github.com/vmseal/vmseal/"

// commands are what the tests are about.
var commands = []string{"signer/cmd/signer", "imagetool/cmd/imagetool", "enforcer/cmd/enforcer"}

// What the tests of this process stand on.
var (
	base string   // the temporary folder, open to everybody
	bin  string   // where our commands lie
	own  []string // the names of the commands of Options.Build, which lie in base/bin
	skip string   // why nothing can be tested here; empty when it can
)

// Main runs the tests and ends the process.
func Main(m *testing.M, o Options) {
	flag.Parse()
	switch {
	case testing.Short():
		skip = "-short: " + o.Short
	case os.Getuid() != 0:
		skip = "needs root for loop mounts"
	case os.Getenv(insideEnv) == "":
		os.Exit(reexec(o.Name))
	}
	if skip == "" {
		base = os.Getenv(insideEnv)
		if err := build(o.Build); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// Use takes a folder for temporary files and one with the commands as they are, where there is nobody to protect from the
// tests and nothing to build with.
func Use(folder, programs string) { base, bin = folder, programs }

// reexec runs this test program again in a mount namespace of its own, whose mounts end with its last process. However
// that ends, the temporary folder is removed from out here, where nothing is mounted in it.
func reexec(name string) int {
	dir, err := os.MkdirTemp("", "vmseal-"+name+"-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	runtime.LockOSThread() // Pdeathsig is bound to the thread that started the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	// SIGQUIT is what go test sends when the time is up: the child then tells where its goroutines are.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "starting the test in its own mount namespace:", err)
		return 1
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	if err := cmd.Wait(); err != nil {
		return 1
	}
	return 0
}

// build builds the tests' own commands; ours too, unless VMSEAL_BIN says where they are.
func build(packages []string) error {
	into := filepath.Join(base, "bin")
	for _, p := range packages {
		own = append(own, path.Base(p))
	}
	if bin = os.Getenv("VMSEAL_BIN"); bin == "" {
		bin = into
		packages = append(slices.Clip(packages), commands...)
	}
	if len(packages) == 0 {
		return nil
	}
	args := []string{"build", "-o", into + "/"}
	for _, p := range packages {
		args = append(args, module+p)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // they run in guests and in dom0, too
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the commands: %w\n%s", err, out)
	}
	return nil
}

// Program is where a built command lies.
func Program(name string) string {
	if slices.Contains(own, name) {
		return filepath.Join(base, "bin", name)
	}
	return filepath.Join(bin, name)
}
