// Package base makes small healthy file systems of many kinds with e2fsprogs:
// what package mutate then spoils. Each holds the same tree, in which every
// structure on disk occurs that the kind can have.
package base
