// Package refusals holds the tests of a package to a rule: nothing is refused without
// need. Each call that makes a refusal has a test in which a judge (e2fsck, the kernel)
// refuses the same image, or a comment that begins with "Needed:" and says what would go
// wrong without it.
package refusals
