// Package e2e holds the end-to-end proof of signer and imagetool: file systems made by mke2fs and filled by the
// running kernel are signed by the built commands, and the result is judged by tools that are not ours.
//
// The judges are evmctl (the bytes of each security.ima value), the kernel's own view through a loop mount (contents,
// attributes, modes, times), e2fsck -fn (the file system) and debugfs (where the kernel cannot mount). Our own verify
// command is tested, but never used as a judge. Nothing of this module is imported, so that a wrong constant cannot
// agree with itself.
//
// What happens to a run that fails, is killed or has company is brought about from outside as well: its operations on
// files are stopped one by one (seccomp_unotify(2)), to fail, to be the last ones, or to wait.
//
// The tests need root, for loop mounts. imagetool itself is always run as an unprivileged user. Everything happens in
// a mount namespace of its own and in one temporary folder, so an interrupted run leaves no mount behind.
//
// Environment: VMSEAL_BIN names a folder with built commands, to test these instead of building them;
// VMSEAL_REQUIRE_TOOLS=1 makes a missing outside tool a failure instead of a skip.
package e2e
