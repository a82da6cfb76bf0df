// Package cli is what the commands have in common: running a cobra command tree
// with fixed exit codes, errors and hints for people, JSON for programs, a
// progress bar for terminals, and the flags that name keys.
//
// # Exit codes
//
//	0  done, and all good
//	1  failed
//	2  wrong usage
//	3  done, but some files failed, do not verify or are different
//
// # Output
//
// Results go to standard output, all else to standard error. An error is one
// line "error: ...", and where one helps a second line "hint: ...".
//
// With --json, standard output holds one JSON object a line and nothing else.
// Each has a "type"; the types that every command shares are
//
//	file       one file: path, paths, action and outcome, or verdict and reason
//	directory  the sums of a directory: path, files, valid, bad
//	failure    a file or directory that could not be worked on: path, error
//	summary    the sums of a run
//	warning    warning, and hint if there is one
//	error      error, exit_code, and hint if there is one; always the last line
//
// Fields are only ever added. Digests and values are lower-case hexadecimal.
// Paths are arbitrary bytes, which JSON cannot hold: as in a manifest, a percent
// sign, and each byte that is not valid UTF-8, stands as %XX. Text output
// escapes control characters in the same way.
package cli
