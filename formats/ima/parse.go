package ima

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vmseal/vmseal/formats/digsig"
)

// Parse parses a value. The result does not share memory with b.
func Parse(b []byte) (Value, error) {
	if len(b) == 0 {
		return Value{}, errors.New("empty value")
	}
	t := Type(b[0])
	v, err := Value{}, error(nil)
	switch t {
	case Digest:
		v, err = parseDigest(b)
	case DigestNG:
		v, err = parseDigestNG(b)
	case Signature:
		v, err = parseSignature(b)
	case VeritySignature:
		v, err = parseV2(b)
	case EVMHMAC, EVMPortable:
		err = errors.New("belongs in security.evm")
	default:
		err = errors.New("unknown")
	}
	if err != nil {
		return Value{}, fmt.Errorf("%v: %w", t, err)
	}
	return v, nil
}

// parseDigest distinguishes MD5 and SHA-1 as ima_get_hash_algo does: by the length. 20 bytes that
// end in four zero bytes are a padded MD5 digest.
func parseDigest(b []byte) (Value, error) {
	d := b[digestHeader:]
	v := Value{Type: Digest}
	switch {
	case len(d) == MD5.Size():
		v.Hash = MD5
	case len(d) == SHA1.Size() && isZero(d[MD5.Size():]):
		v.Hash, v.Padded = MD5, true
		d = d[:MD5.Size()]
	case len(d) == SHA1.Size():
		v.Hash = SHA1
	default:
		return Value{}, fmt.Errorf("%d bytes are neither an MD5 nor a SHA-1 digest", len(d))
	}
	v.Digest = bytes.Clone(d)
	return v, nil
}

func parseDigestNG(b []byte) (Value, error) {
	if len(b) < digestNGHeader {
		return Value{}, fmt.Errorf("%d bytes, but the header has %d", len(b), digestNGHeader)
	}
	hash, d := HashID(b[1]), b[digestNGHeader:]
	if err := checkDigest(hash, d); err != nil {
		return Value{}, err
	}
	return Value{Type: DigestNG, Hash: hash, Digest: bytes.Clone(d)}, nil
}

func parseSignature(b []byte) (Value, error) {
	if len(b) <= sigVersion {
		return Value{}, errors.New("no version")
	}
	switch version := b[sigVersion]; version {
	case 1:
		return parseV1(b)
	case 2:
		return parseV2(b)
	default:
		return Value{}, fmt.Errorf("unknown version %d", version)
	}
}

// parseV2 parses versions 2 and 3. The kernel must know the hash.
func parseV2(b []byte) (Value, error) {
	s, err := digsig.Parse(b)
	if err != nil {
		return Value{}, err
	}
	hash := HashID(s.Hash)
	if !hash.Known() {
		return Value{}, fmt.Errorf("unknown hash %d", byte(hash))
	}
	return Value{Type: Type(b[0]), Version: s.Version, Hash: hash, KeyID: s.KeyID, Signature: s.Bytes}, nil
}

// parseV1 applies the rules of digsig_verify (lib/digsig.c). It also requires what that function
// takes for granted: a known hash, one integer, and nothing after it.
func parseV1(b []byte) (Value, error) {
	if len(b) <= v1Header {
		return Value{}, fmt.Errorf("%d bytes, but header and signature need more than %d", len(b), v1Header)
	}
	if algo := b[v1Algo]; algo != pubkeyAlgoRSA {
		return Value{}, fmt.Errorf("unknown public key algorithm %d", algo)
	}
	hash, err := hashFromV1(b[v1Hash])
	if err != nil {
		return Value{}, err
	}
	if n := b[v1NMPI]; n != oneMPI {
		return Value{}, fmt.Errorf("%d integers, want 1", n)
	}
	sig := b[v1Header:]
	bits := binary.BigEndian.Uint16(b[v1Bits:])
	if mpiBytes(bits) != len(sig) {
		return Value{}, fmt.Errorf("an integer of %d bits, but %d bytes follow the header", bits, len(sig))
	}
	return Value{
		Type:      Signature,
		Version:   1,
		Hash:      hash,
		Timestamp: binary.LittleEndian.Uint32(b[v1Timestamp:]),
		KeyIDV1:   KeyIDV1(b[v1KeyID:v1NMPI]),
		MPIBits:   bits,
		Signature: bytes.Clone(sig),
	}, nil
}

func hashFromV1(algo byte) (HashID, error) {
	switch algo {
	case digestAlgoSHA1:
		return SHA1, nil
	case digestAlgoSHA256:
		return SHA256, nil
	}
	return 0, fmt.Errorf("unknown version 1 hash %d", algo)
}

func checkDigest(hash HashID, digest []byte) error {
	if !hash.Known() {
		return fmt.Errorf("unknown hash %d", byte(hash))
	}
	if len(digest) != hash.Size() {
		return fmt.Errorf("digest of %d bytes, but %v has %d", len(digest), hash, hash.Size())
	}
	return nil
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
