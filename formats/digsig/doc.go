// Package digsig reads those security.ima values that hold a signature which may
// count: version 2, over a file's contents, and version 3, over an fs-verity digest.
//
// It is the part of formats/ima that a program needs which only verifies, and as
// strict as that: every field of the header known, every length exact. What is left
// out are labels with a digest, version 1, and the names of hashes that are not
// signed with.
//
// The layout is that of struct signature_v2_hdr (security/integrity/integrity.h),
// the rules those of asymmetric_verify (security/integrity/digsig_asymmetric.c).
package digsig
