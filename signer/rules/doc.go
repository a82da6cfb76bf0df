// Package rules decides by path what is signed, what only gets a digest and what
// is left alone.
//
// A rules file is text in UTF-8, one rule a line:
//
//	# the guest writes here
//	hash /var/log/
//	skip /var/cache/**/*.bin
//	sign /var/log/installer/
//
// A rule is an action and a pattern. The last rule that matches a path wins; a
// path that none matches is signed. Where an inode has several names, the
// strongest action wins: sign before hash before skip. Blank lines and lines
// that begin with # say nothing.
//
// Patterns are those of gitignore(5):
//
//   - A pattern without a slash, or with one only at its end, matches at any
//     depth. With any other slash it is anchored at the root of the file system.
//   - What matches a directory matches everything below it. A pattern that ends
//     in a slash matches directories only.
//   - * matches anything but a slash, ? one character but a slash, [a-z] and
//     [!a-z] one character of a set. A backslash takes the special meaning from
//     the next character.
//   - ** as a whole component matches any number of components.
//   - White space at the end does not count, unless it follows a backslash.
//
// There are two differences. There is no negation by !, since another rule with
// another action does the same; so a file can be told apart from the rest of its
// directory, which gitignore cannot. And ? and sets match a character of UTF-8,
// where git's match a byte.
//
// A line that could mean nothing, or something else than it seems to, is an
// error with its number.
//
// Starter rules for families of distributions are part of the package: Load takes
// @NAME for them, where ./@NAME is a file. They name what a system may have, so
// rules of theirs that match nothing are no mistake.
package rules
