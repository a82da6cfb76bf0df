// Package enforce holds the proof of enforcement: a Debian guest whose image imagetool signed boots under QEMU, with the
// enforcer outside it deciding about every access, and commands are run in it.
//
// The guest is what scripts/guest-root makes, with three things added before it is signed: guestagent, through which the
// test runs commands; probe, which tries what guest root might try; and under /opt/t programs, libraries, scripts and
// kernel modules, one for each way in which a signature can be wrong. They are made wrong afterwards, through a loop
// mount, with evmctl and setxattr.
//
// Where the guest's file system is what matters there is a lean one beside it: busybox, dmsetup and guestagent, signed in a folder
// that is then put on this or that (lean_test.go).
//
// On Xen, which scripts/xen boots under QEMU, the same test program runs once more in dom0. Its guest is a handful of Debian's
// programs with guestagent as process 1, which talks over the guest's console.
//
// What is said about the guest is what its own kernel says there: the exit code and the error of a command, /proc and the
// kernel's log. Of this module only the test bed is imported (scripts/internal/bed), and only built commands are run.
//
// The tests need root, for the loop mount and to unpack the guest. imagetool runs as an unprivileged user, and no guest
// outlives the test. The test bed says what an interrupted run leaves behind (nothing), and what VMSEAL_BIN and
// VMSEAL_REQUIRE_TOOLS do.
package enforce
