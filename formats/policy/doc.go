// Package policy reads the IMA policy of a guest, and refuses a policy that does not protect it.
//
// The package reads the text as the kernel does (security/integrity/ima/ima_policy.c): one rule a
// line, words separated by blanks, '#' for comments. It accepts only what means the same to the
// kernel (Linux 6.1 to 7.3) and to this package.
//
// # What protects
//
// Of the appraise and dont_appraise rules, the kernel applies the first that matches a file and a
// function. So a policy protects if each of these rules is harmless by itself:
//
//   - An appraise rule requires a signature, or it is about reading (FILE_CHECK), where the enforcer
//     decides whether a digest is enough. It names its function. Without a function the kernel would
//     treat every use of a file as FILE_CHECK: it would not check executable mappings, and an
//     execution would get the result of an earlier read.
//   - A dont_appraise rule exempts a file system in which nobody can store bytes that are executed or
//     loaded, and has no other condition.
//
// In addition, for each required function one rule must match every file.
//
// Rules that measure, audit or hash do not decide about access. But the kernel collects some options
// from all rules that match a file. The package refuses those options in every rule.
package policy
