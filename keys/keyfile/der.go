package keyfile

import (
	"bytes"
	"encoding/asn1"
	"strings"
)

// findDER parses a file that consists of DER objects. It returns nil for other files.
func findDER(data []byte) (blocks []Block) {
	if label := labelOfBER(data); label != "" {
		return []Block{{Label: label, Bytes: bytes.Clone(data)}}
	}
	for len(data) > 0 {
		var object asn1.RawValue
		rest, err := asn1.Unmarshal(data, &object)
		if err != nil {
			return nil
		}
		label := LabelOfDER(object.FullBytes)
		if label == "" {
			return nil
		}
		blocks = append(blocks, Block{Label: label, Bytes: bytes.Clone(object.FullBytes)})
		data = rest
	}
	return blocks
}

// labelOfBER recognizes a store whose outermost value has an indefinite length, which BER allows
// and DER does not: PFX (RFC 7292, section 4) and ContentInfo (RFC 5652, section 3).
func labelOfBER(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte{0x30, 0x80, 2, 1, 3}):
		return PKCS12
	case bytes.HasPrefix(data, []byte{0x30, 0x80, 6, 9}):
		return PKCS7
	}
	return ""
}

// LabelOfDER returns the label of a DER object, which it recognizes by the members of its sequence.
// It returns "" for unknown objects.
func LabelOfDER(der []byte) string {
	var object asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &object); err != nil || len(rest) > 0 || object.FullBytes[0] != 0x30 {
		return ""
	}
	if bytes.HasPrefix(object.Bytes, []byte{2, 1, 3}) {
		return PKCS12 // PFX, RFC 7292, section 4; what follows may be BER
	}
	m := members(object.Bytes)
	has := func(shape string) bool { return strings.HasPrefix(shapeOf(m), shape) }
	switch {
	case has("nnnnnnnnn"): // RSAPrivateKey, RFC 8017, appendix A.1.2
		return PKCS1
	case has("nnnnnn"): // OpenSSL's DSAPrivateKey
		return DSA
	case has("nn"): // RSAPublicKey, RFC 8017, appendix A.1.1
		return RSAPublicKey
	case has("nso"): // PrivateKeyInfo, RFC 5958, section 2
		return PKCS8
	case has("no"): // ECPrivateKey, RFC 5915, section 3
		return EC
	case has("so"): // EncryptedPrivateKeyInfo, RFC 5958, section 3
		return EncryptedPKCS8
	case has("sb"): // SubjectPublicKeyInfo, RFC 5280, section 4.1
		return PublicKey
	case has("ic"): // ContentInfo, RFC 5652, section 3
		return PKCS7
	case has("ssb"):
		return labelOfSigned(m[0])
	}
	return ""
}

// labelOfSigned returns the label of a signed object, depending on its contents.
func labelOfSigned(tbs asn1.RawValue) string {
	switch shape := shapeOf(members(tbs.Bytes)); {
	case strings.HasPrefix(shape, "nssc"): // CertificationRequestInfo, RFC 2986, section 4.1
		return Request
	case strings.HasPrefix(shape, "nsst"), strings.HasPrefix(shape, "sst"): // TBSCertList, RFC 5280, section 5.1
		return CRL
	}
	return Certificate
}

// members returns the members of a sequence, up to the first that cannot be parsed.
func members(content []byte) (all []asn1.RawValue) {
	for len(content) > 0 {
		var m asn1.RawValue
		rest, err := asn1.Unmarshal(content, &m)
		if err != nil {
			return all
		}
		all, content = append(all, m), rest
	}
	return all
}

// shapeOf returns one letter for the type of each member: integer n, sequence s, octet string o,
// bit string b, object identifier i, time t, context-specific c, other x.
func shapeOf(members []asn1.RawValue) string {
	letters := map[int]byte{
		asn1.TagInteger: 'n', asn1.TagSequence: 's', asn1.TagOctetString: 'o', asn1.TagBitString: 'b',
		asn1.TagOID: 'i', asn1.TagUTCTime: 't', asn1.TagGeneralizedTime: 't',
	}
	var shape []byte
	for _, m := range members {
		letter := letters[m.Tag]
		switch {
		case m.Class == asn1.ClassContextSpecific:
			letter = 'c'
		case m.Class != asn1.ClassUniversal || letter == 0:
			letter = 'x'
		}
		shape = append(shape, letter)
	}
	return string(shape)
}
