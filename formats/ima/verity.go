package ima

// FileID gives the bytes of struct ima_file_id (security/integrity/ima/ima.h)
// for an fs-verity digest: type, hash, digest. A version 3 signature covers the
// digest of these bytes under the same hash (calc_file_id_hash in
// ima_appraise.c), so that a signature over an fs-verity digest cannot pass for one
// over a file's contents, unless the file holds such bytes: see IsFileID.
func FileID(hash HashID, verityDigest []byte) ([]byte, error) {
	if err := checkDigest(hash, verityDigest); err != nil {
		return nil, err
	}
	return append([]byte{byte(VeritySignature), byte(hash)}, verityDigest...), nil
}

// MaxFileID is the length of the longest such bytes.
const MaxFileID = 2 + 64

// IsFileID reports whether the contents of a file are such bytes, of any type that a version
// 3 signature may have, by a hash that signatures are made with. A signature over that file
// would be good for another one, too, which has this digest and whatever contents: for a
// file under fs-verity, or from Linux 7.1 on for any, or for EVM.
func IsFileID(contents []byte) bool {
	switch len(contents) {
	case 2 + 32, 2 + 48, MaxFileID:
		t := Type(contents[0])
		return (t == VeritySignature || t == Signature || t == EVMPortable) && HashID(contents[1]).Known()
	}
	return false
}
