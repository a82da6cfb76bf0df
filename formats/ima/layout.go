package ima

// Offsets and sizes within a value, the type byte being at 0.
const (
	// IMA_XATTR_DIGEST: type, digest. Kernels before digest-ng stored every
	// digest in 20 bytes, so four zero bytes may follow an MD5 digest
	// (ima_get_hash_algo in ima_appraise.c).
	digestHeader = 1
	md5Padding   = 4

	// IMA_XATTR_DIGEST_NG: type, hash, digest (struct ima_digest_data, xattr.ng).
	digestNGHeader = 2

	// In signatures of all versions, the version follows the type. For the rest of
	// versions 2 and 3 see package digsig.
	sigVersion = 1

	// The type byte, then struct signature_hdr: version, 32-bit timestamp, algo,
	// hash, 8 bytes of keyid, nmpi; then one multi-precision integer: its
	// length in bits as __be16, and its bytes.
	v1Timestamp, v1Algo, v1Hash, v1KeyID, v1NMPI = 2, 6, 7, 8, 16
	v1Bits, v1Header                             = 17, 19
)

// Values of the fields of struct signature_hdr (include/linux/digsig.h).
const (
	pubkeyAlgoRSA    = 0 // enum pubkey_algo: PUBKEY_ALGO_RSA
	digestAlgoSHA1   = 0 // enum digest_algo: DIGEST_ALGO_SHA1
	digestAlgoSHA256 = 1 // enum digest_algo: DIGEST_ALGO_SHA256
	oneMPI           = 1 // an RSA signature is one integer
)

// maxSignature is the maximum of the 16-bit length in a version 2 signature. The bit count of
// version 1 allows less (8192 bytes).
const maxSignature = 1<<16 - 1

// mpiBytes returns the number of bytes of an integer with the given number of bits
// (mpi_read_from_buffer in lib/mpi/mpicoder.c).
func mpiBytes(bits uint16) int { return (int(bits) + 7) / 8 }
