package ima

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Append appends the bytes of the value to b. It is the inverse of Parse. It fails for a value that
// Parse would not return unchanged.
func (v Value) Append(b []byte) ([]byte, error) {
	if err := v.check(); err != nil {
		return b, fmt.Errorf("%v: %w", v.Type, err)
	}
	switch {
	case v.Type == Digest:
		b = append(append(b, byte(v.Type)), v.Digest...)
		if v.Padded {
			b = append(b, make([]byte, md5Padding)...)
		}
	case v.Type == DigestNG:
		b = append(append(b, byte(v.Type), byte(v.Hash)), v.Digest...)
	case v.Version == 1:
		b = v.appendHeaderV1(append(b, byte(v.Type)))
		b = binary.BigEndian.AppendUint16(b, v.MPIBits)
		b = append(b, v.Signature...)
	default:
		b = append(b, byte(v.Type), v.Version, byte(v.Hash))
		b = append(b, v.KeyID[:]...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(v.Signature)))
		b = append(b, v.Signature...)
	}
	return b, nil
}

// SignedHeader returns the struct signature_hdr of a version 1 value. The file's digest and this
// header are hashed together before the result is signed (digsig_verify in lib/digsig.c).
func (v Value) SignedHeader() ([]byte, error) {
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("%v: %w", v.Type, err)
	}
	if v.Type != Signature || v.Version != 1 {
		return nil, errors.New("only a version 1 signature covers its header")
	}
	return v.appendHeaderV1(nil), nil
}

// The timestamp has the byte order of the machine that signed, and no kernel reads it. All relevant
// machines are little-endian.
func (v Value) appendHeaderV1(b []byte) []byte {
	algo := byte(digestAlgoSHA1)
	if v.Hash == SHA256 {
		algo = digestAlgoSHA256
	}
	b = append(b, v.Version)
	b = binary.LittleEndian.AppendUint32(b, v.Timestamp)
	b = append(b, pubkeyAlgoRSA, algo)
	b = append(b, v.KeyIDV1[:]...)
	return append(b, oneMPI)
}

// check returns an error unless Parse can return the value.
func (v Value) check() error {
	switch {
	case v.Type == Digest:
		return v.checkDigest()
	case v.Type == DigestNG:
		return v.checkDigestNG()
	case v.Type == Signature && v.Version == 1:
		return v.checkV1()
	case v.Type == Signature && v.Version == 2, v.Type == VeritySignature && v.Version == 3:
		return v.checkV2()
	case v.IsSignature():
		return fmt.Errorf("unknown version %d", v.Version)
	}
	return errors.New("not a kind of security.ima value")
}

func (v Value) checkDigest() error {
	if v.Hash != MD5 && v.Hash != SHA1 {
		return fmt.Errorf("hash is %v, but only md5 and sha1 fit", v.Hash)
	}
	if err := v.checkDigestNG(); err != nil {
		return err
	}
	if v.Hash == SHA1 && isZero(v.Digest[MD5.Size():]) {
		return errors.New("a sha1 digest that ends in four zero bytes would be read as md5")
	}
	return nil
}

func (v Value) checkDigestNG() error {
	if err := checkDigest(v.Hash, v.Digest); err != nil {
		return err
	}
	if v.Padded && (v.Type != Digest || v.Hash != MD5) {
		return errors.New("only an md5 digest is padded")
	}
	if v.Version != 0 || v.KeyID != (KeyID{}) || v.Signature != nil || v.hasV1Fields() {
		return errors.New("a digest with fields of a signature")
	}
	return nil
}

func (v Value) checkV1() error {
	if v.Hash != SHA1 && v.Hash != SHA256 {
		return fmt.Errorf("hash is %v, but version 1 knows only sha1 and sha256", v.Hash)
	}
	if len(v.Signature) == 0 || len(v.Signature) != mpiBytes(v.MPIBits) {
		return fmt.Errorf("a signature of %d bytes does not fit an integer of %d bits", len(v.Signature), v.MPIBits)
	}
	if v.Digest != nil || v.Padded || v.KeyID != (KeyID{}) {
		return errors.New("a version 1 signature with fields of another kind")
	}
	return nil
}

func (v Value) checkV2() error {
	if !v.Hash.Known() {
		return fmt.Errorf("unknown hash %d", byte(v.Hash))
	}
	if len(v.Signature) == 0 || len(v.Signature) > maxSignature {
		return fmt.Errorf("a signature of %d bytes", len(v.Signature))
	}
	if v.Digest != nil || v.Padded || v.hasV1Fields() {
		return fmt.Errorf("a version %d signature with fields of another kind", v.Version)
	}
	return nil
}

func (v Value) hasV1Fields() bool {
	return v.KeyIDV1 != (KeyIDV1{}) || v.Timestamp != 0 || v.MPIBits != 0
}
