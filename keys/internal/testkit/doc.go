// Package testkit is what the tests of the key packages share: keys, and the
// outside tools that serve as oracles. Only tests import it.
package testkit
