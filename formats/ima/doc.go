// Package ima reads and writes the values of the extended attribute
// security.ima, with which Linux IMA labels a file.
//
// A value begins with one byte of type. The types that belong in security.ima
// are a plain digest (MD5 or SHA-1, by length), a digest with the number of its
// hash ("digest-ng"), a signature in version 1 or 2, and a version 3 signature
// over an fs-verity digest. The two other types of the kernel's enumeration
// belong in security.evm and are refused.
//
// Parse is strict: it accepts a value only if every header field is known and
// every length is exact, and Append gives back the same bytes for each value
// that Parse accepts. Where the kernel is more lenient than that (it ignores,
// for example, what follows a digest), a lenient reading would let two
// different byte strings mean the same label, so they are refused.
//
// The package knows bytes only; package keys verifies signatures.
//
// Layouts and rules follow the Linux sources: security/integrity/integrity.h,
// security/integrity/digsig.c and digsig_asymmetric.c, lib/crypto/hash_info.c,
// include/uapi/linux/hash_info.h, include/linux/digsig.h, lib/digsig.c,
// security/integrity/ima/ima_appraise.c; and libimaevm.c of ima-evm-utils for
// what user space writes.
package ima
