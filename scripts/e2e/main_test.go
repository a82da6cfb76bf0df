package e2e

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
const insideEnv = "VMSEAL_E2E_INSIDE"

var (
	base   string // the temporary folder of this run, open to everybody
	binDir string // where the built commands lie
	skip   string // why nothing can be tested here; empty when it can
)

func TestMain(m *testing.M) {
	if program := os.Getenv(supervisedEnv); program != "" {
		fmt.Fprintln(os.Stderr, beSupervised(program))
		os.Exit(1)
	}
	flag.Parse()
	switch {
	case testing.Short():
		skip = "-short: the end-to-end proof takes minutes"
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
	if base, err = os.MkdirTemp("", "vmseal-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(base)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupts
		os.RemoveAll(base) // what is mounted below stays whole: its folders are other file systems, unmounted at exit
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

// buildCommands sets binDir, building them unless VMSEAL_BIN says where they are.
func buildCommands() error {
	if binDir = os.Getenv("VMSEAL_BIN"); binDir != "" {
		return nil
	}
	binDir = filepath.Join(base, "bin")
	cmd := exec.Command("go", "build", "-o", binDir+"/", "./signer/cmd/signer", "./imagetool/cmd/imagetool", "./enforcer/cmd/enforcer")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the commands: %w\n%s", err, out)
	}
	return nil
}
