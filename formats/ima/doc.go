// Package ima reads and writes the values of the extended attribute security.ima, in which
// Linux IMA keeps the digest or the signature of a file.
//
// The first byte of a value is its type. The types that belong in security.ima are a plain
// digest (MD5 or SHA-1, depending on the length), a digest with the number of its hash
// ("digest-ng"), a signature of version 1 or 2, and a signature of version 3 over an fs-verity
// digest. The other two types of the kernel's enumeration belong in security.evm; Parse refuses
// them.
//
// Parse is strict: it accepts a value only if every header field is known and every length is
// exact. Append returns the same bytes for each value that Parse accepts. The kernel is more
// lenient in places. For example, it ignores bytes after a digest. Parse refuses such values,
// because otherwise two different byte strings would mean the same.
//
// The package only handles bytes; package keys verifies signatures.
//
// Layouts and rules follow the Linux sources: security/integrity/integrity.h,
// security/integrity/digsig.c and digsig_asymmetric.c, lib/crypto/hash_info.c,
// include/uapi/linux/hash_info.h, include/linux/digsig.h, lib/digsig.c,
// security/integrity/ima/ima_appraise.c; and libimaevm.c of ima-evm-utils for
// what user space writes.
package ima
