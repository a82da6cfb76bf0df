// Package testkit is shared by the tests of the key packages: it has keys, and runs the external
// tools that the tests compare with.
package testkit
