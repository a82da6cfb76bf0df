// Package formats is the root of the packages that define bytes on disk:
//
//   - formats/ima: values of the extended attribute security.ima
//   - formats/digsig: those of them that are signatures which may count
//   - formats/manifest: the list of what was labelled in one image
//   - formats/profile: what the enforcer must know of one kernel build
//   - formats/policy: IMA policies, and which of them protect
//   - formats/escape: names that are arbitrary bytes, as text
//
// They rest on the standard library and on each other, and on nothing else, so
// that the smallest program of the project can read everything the largest one
// writes. README.md beside this file gives the byte layouts.
package formats
