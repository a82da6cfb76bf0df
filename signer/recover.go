package signer

import (
	"crypto/rsa"
	"math/big"

	"github.com/vmseal/vmseal/formats/ima"
)

// Recover computes what a version 2 signature would have to be over: the digest
// is the end of the encoded message (RFC 8017, section 9.2), which s^e mod n
// yields. Whether the rest of the encoding is right, and so whether it is a
// signature at all, only verifying can tell. It is nil for a signature that the
// key cannot have made.
func Recover(pub *rsa.PublicKey, v ima.Value) (digest []byte) {
	s := new(big.Int).SetBytes(v.Signature)
	if len(v.Signature) != pub.Size() || s.Cmp(pub.N) >= 0 || v.Hash.Size() > pub.Size() {
		return nil
	}
	m := s.Exp(s, big.NewInt(int64(pub.E)), pub.N).FillBytes(make([]byte, pub.Size()))
	return m[len(m)-v.Hash.Size():]
}
