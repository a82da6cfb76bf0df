// Package e2e holds the end-to-end proof of signer and imagetool: file systems made by mke2fs and filled by the
// running kernel are signed by the built commands, and the result is judged by tools that are not ours.
//
// The judges are evmctl (the bytes of each security.ima value), the kernel's own view through a loop mount (contents,
// attributes, modes, times), e2fsck -fn (the file system) and debugfs (where the kernel cannot mount). Our own verify
// command is tested, but never used as a judge. Of this module only the test bed is imported (scripts/internal/bed), so
// that a wrong constant cannot agree with itself.
//
// What happens to a run that fails, is killed or has company is brought about from outside as well: its operations on
// files are stopped one by one (seccomp_unotify(2)), to fail, to be the last ones, or to wait.
//
// The tests need root, for loop mounts. imagetool itself is always run as an unprivileged user. The test bed says what an
// interrupted run leaves behind (nothing), and what VMSEAL_BIN and VMSEAL_REQUIRE_TOOLS do.
package e2e
