// Package fakekernel makes small kernels for tests: ELF files and bzImages that have
// all that a profile is made from, and nothing that runs.
package fakekernel
