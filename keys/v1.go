package keys

import (
	"crypto/rsa"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/vmseal/vmseal/formats/ima"
)

// IDV1 returns the key id for version 1 signatures: the last eight bytes of SHA-1 over struct
// pubkey_hdr and the two integers of the key, as in libimaevm's key2bin and calc_keyid_v1.
func IDV1(k *PublicKey) ima.KeyIDV1 {
	// version 1, timestamp 0 (four bytes), PUBKEY_ALGO_RSA, two integers
	b := []byte{1, 0, 0, 0, 0, 0, 2}
	for _, n := range []*big.Int{k.RSA.N, big.NewInt(int64(k.RSA.E))} {
		b = binary.BigEndian.AppendUint16(b, uint16(n.BitLen()))
		b = append(b, n.Bytes()...)
	}
	sum := sha1.Sum(b)
	return ima.KeyIDV1(sum[len(sum)-len(ima.KeyIDV1{}):])
}

// VerifyV1 verifies a version 1 signature over the digest of a file's contents.
//
// Such a signature signs SHA-1 over the digest and its own header (digsig_verify in lib/digsig.c),
// with the padding of PKCS #1 v1.5 but without a DigestInfo. SHA-1 has collisions. Use VerifyV1
// only to read old values, never to decide that something may run. It does not check the validity
// of the key.
func VerifyV1(k *PublicKey, value ima.Value, digest []byte) error {
	header, err := value.SignedHeader()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSignature, err)
	}
	if len(digest) != value.Hash.Size() {
		return fmt.Errorf("%w: %d bytes for %v", ErrDigestSize, len(digest), value.Hash)
	}
	if id := IDV1(k); value.KeyIDV1 != id {
		return fmt.Errorf("%w %v", ErrUnknownKey, value.KeyIDV1)
	}
	h := sha1.New()
	h.Write(digest)
	h.Write(header)
	if len(value.Signature) != k.RSA.Size() {
		return fmt.Errorf("%w: %d bytes, but key %v has %d", ErrSignatureSize, len(value.Signature), k.ID, k.RSA.Size())
	}
	if err := rsa.VerifyPKCS1v15(k.RSA, 0, h.Sum(nil), value.Signature); err != nil {
		return fmt.Errorf("%w by key %v", ErrBadSignature, k.ID)
	}
	return nil
}
