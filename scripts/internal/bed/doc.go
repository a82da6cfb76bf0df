// Package bed is what the tests that need root, built commands and outside tools stand on: scripts/e2e and
// scripts/enforce.
//
// Main takes the place of a TestMain. It runs the test program again in a mount namespace of its own, gives it one
// temporary folder and builds the commands. So a run that is interrupted or crashes leaves nothing behind: its mounts end
// with its last process (mount_namespaces(7)), and the folder is removed from outside. Where the tests cannot run, Need
// skips them and says why.
//
// Our commands are run as they were built, by root or by nobody; outside tools with an environment that always gives the
// same output. Nothing here knows a format of vmseal, so that the tests stay judges of their own.
//
// Environment: VMSEAL_BIN names a folder with built commands, to test these instead of building them. Its name is absolute,
// everybody can read it, and the commands are static (CGO_ENABLED=0), since they run in guests and in dom0, too.
// VMSEAL_REQUIRE_TOOLS=1 makes a missing outside tool a failure instead of a skip.
package bed
