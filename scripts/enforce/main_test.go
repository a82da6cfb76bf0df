package enforce

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// nobody is the unprivileged user that imagetool runs as.
const nobody = 65534

// insideEnv marks the copy of this test that runs in its own mount namespace.
const insideEnv = "VMSEAL_ENFORCE_INSIDE"

var (
	base   string // the temporary folder of this run, open to everybody
	binDir string // where the built commands lie
	skip   string // why nothing can be tested here; empty when it can
)

func TestMain(m *testing.M) {
	flag.Parse()
	if dom0 != "" {
		base, binDir = os.TempDir(), jobDir
		os.Exit(m.Run())
	}
	switch {
	case testing.Short():
		skip = "-short: the proof of enforcement boots guests for minutes"
	case os.Getuid() != 0:
		skip = "needs root for loop mounts"
	case os.Getenv(insideEnv) == "":
		os.Exit(reexec())
	}
	if skip != "" {
		os.Exit(m.Run())
	}
	os.Exit(runInside(m))
}

// reexec runs this test binary again in a mount namespace of its own, whose mounts end with its last process.
func reexec() int {
	runtime.LockOSThread() // Pdeathsig is bound to the thread that started the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "starting the test in its own mount namespace:", err)
		return 1
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range interrupts {
			cmd.Process.Signal(s)
		}
	}()
	if err := cmd.Wait(); err != nil {
		return 1
	}
	return 0
}

func runInside(m *testing.M) int {
	var err error
	if base, err = os.MkdirTemp("", "vmseal-enforce-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(base)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupts
		os.RemoveAll(base) // guests end with this process, mounts with this namespace
		os.Exit(1)
	}()
	if err := os.Chmod(base, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := buildCommands(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// buildCommands sets binDir and builds what runs in the guest; our commands too, unless VMSEAL_BIN says where they are.
func buildCommands() error {
	own := filepath.Join(base, "bin")
	if err := goBuild(own, "./scripts/enforce/guestagent", "./scripts/enforce/probe"); err != nil {
		return err
	}
	if binDir = os.Getenv("VMSEAL_BIN"); binDir != "" {
		return nil
	}
	binDir = own
	return goBuild(own, "./signer/cmd/signer", "./imagetool/cmd/imagetool", "./enforcer/cmd/enforcer")
}

// goBuild builds static commands.
func goBuild(to string, packages ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", to + "/"}, packages...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building commands: %w\n%s", err, out)
	}
	return nil
}
