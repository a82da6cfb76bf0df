package ima

// FileID gives the bytes of struct ima_file_id (security/integrity/ima/ima.h)
// for an fs-verity digest: type, hash, digest. A version 3 signature covers the
// digest of these bytes under the same hash (calc_file_id_hash in
// ima_appraise.c), so that a signature over an fs-verity digest can never pass
// for one over a file's contents.
func FileID(hash HashID, verityDigest []byte) ([]byte, error) {
	if err := checkDigest(hash, verityDigest); err != nil {
		return nil, err
	}
	return append([]byte{byte(VeritySignature), byte(hash)}, verityDigest...), nil
}
