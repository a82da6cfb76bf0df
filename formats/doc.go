// Package formats is the root of the packages that define the project's data formats:
//
//   - formats/ima: values of the extended attribute security.ima
//   - formats/digsig: the subset of these values that are verifiable signatures
//   - formats/manifest: the list of signed files of one image
//   - formats/profile: what the enforcer must know about one kernel build
//   - formats/policy: IMA policies, and which of them protect a guest
//   - formats/escape: arbitrary bytes in file names, as text
//
// The packages depend only on the standard library and on each other, so the smallest program of
// the project can read everything that the largest one writes. README.md in this directory describes
// the byte layouts.
package formats
