// Package policy reads the IMA policy that a guest is given, and refuses one that
// does not protect it.
//
// The text is read as the kernel does (security/integrity/ima/ima_policy.c): a rule
// a line, words between blanks, '#' for comments. Only what is known, from 6.1 to
// 7.3, to mean the same to the kernel and to this package is let through.
//
// # What protects
//
// Of the appraise and dont_appraise rules the kernel takes the first that matches a
// file and a function. So it is enough that each of them is harmless by itself:
//
//   - an appraise rule asks for a signature, or is about reading (FILE_CHECK), where
//     the enforcer says whether a digest will do. And it names its function: without
//     one the kernel would take every use of a file for FILE_CHECK: the check of
//     executable mappings would not happen, and an execution would get the result
//     of an earlier read.
//   - a dont_appraise rule exempts a file system in which nobody can place bytes
//     that are executed or loaded, and says nothing else.
//
// and that for each of the functions of Required one rule matches every file.
//
// Rules that measure, audit or hash decide nothing about access. But some of their
// options do: the kernel collects options from all rules that match a file. Those
// are refused too.
package policy
