// Package input reads files that a person named, such as keys, rules and passphrases, and standard
// input. Any name may refer to a pipe that nobody writes to, or to an endless device. So every read
// ends with its context, and the amount of memory is bounded.
//
// Named and unnamed pipes are allowed: a shell passes the output of a command in this way, as in
// <(gpg -d key.gpg). If nobody opens a pipe for writing within seconds, opening it fails. A system call
// that waits for a pipe cannot be cancelled. It is left in a goroutine, and its result is dropped. That
// is acceptable because contexts end shortly before the process does.
package input
