// Package install proves, as tests, what a user gets from a release: it makes one with scripts/release, of the commit that is
// checked out, and installs, uses and removes it with the tools that users have. The Debian system is what scripts/debian-root
// makes; what was signed with the packages alone is judged by the running kernel.
package install
