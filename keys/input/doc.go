// Package input reads what a person named: keys, rules, passphrases, and what is
// on standard input. Any name may turn out to be a pipe that nobody writes to, or
// a device without an end; so every read ends with its context, and what is held
// in memory has a bound.
//
// Pipes are welcome, named or not: that is how a shell hands over the output of a
// command, as in <(gpg -d key.gpg). One that nobody opens for writing within seconds
// is given up. A system call that waits for one cannot be
// called off, so it is left behind in a goroutine, and its result goes nowhere:
// contexts end when the process is about to.
package input
