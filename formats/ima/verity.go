package ima

// FileID returns the bytes of struct ima_file_id (security/integrity/ima/ima.h) for an fs-verity
// digest: type, hash, digest. A version 3 signature signs the digest of these bytes under the same
// hash (calc_file_id_hash in ima_appraise.c). So a signature over an fs-verity digest is not valid
// for a file's contents, unless the file contains such bytes: see IsFileID.
func FileID(hash HashID, verityDigest []byte) ([]byte, error) {
	if err := checkDigest(hash, verityDigest); err != nil {
		return nil, err
	}
	return append([]byte{byte(VeritySignature), byte(hash)}, verityDigest...), nil
}

// MaxFileID is the length of the longest ima_file_id in bytes.
const MaxFileID = 2 + 64

// IsFileID reports whether contents have the form of a struct ima_file_id, with any type that a
// version 3 signature may have, and any known hash. A signature over a file with such contents
// would also be valid for other files: for a file under fs-verity that has this digest, since Linux
// 7.1 for any file with this digest, and for EVM.
func IsFileID(contents []byte) bool {
	switch len(contents) {
	case 2 + 32, 2 + 48, MaxFileID:
		t := Type(contents[0])
		return (t == VeritySignature || t == Signature || t == EVMPortable) && HashID(contents[1]).Known()
	}
	return false
}
