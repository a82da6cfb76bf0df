package keyfile

import (
	"fmt"
	"strings"
)

// PEM labels from RFC 7468 and openssl(1).
const (
	PKCS8          = "PRIVATE KEY"
	EncryptedPKCS8 = "ENCRYPTED PRIVATE KEY"
	PKCS1          = "RSA PRIVATE KEY"
	PSS            = "RSA-PSS PRIVATE KEY"
	EC             = "EC PRIVATE KEY"
	DSA            = "DSA PRIVATE KEY"
	OpenSSH        = "OPENSSH PRIVATE KEY"
	Sigstore       = "ENCRYPTED SIGSTORE PRIVATE KEY"
	Cosign         = "ENCRYPTED COSIGN PRIVATE KEY"
	TPM            = "TSS2 PRIVATE KEY"
	PGP            = "PGP PRIVATE KEY BLOCK"

	PublicKey    = "PUBLIC KEY"
	RSAPublicKey = "RSA PUBLIC KEY"

	Certificate = "CERTIFICATE"
	X509        = "X509 CERTIFICATE"    // another label for a certificate
	Trusted     = "TRUSTED CERTIFICATE" // followed by openssl's own data
	Request     = "CERTIFICATE REQUEST"
	CRL         = "X509 CRL"
	PKCS7       = "PKCS7"
)

// Labels of this package for objects that are not PEM.
const (
	PKCS12    = "PKCS12"
	Java      = "JAVA KEYSTORE"
	PuTTY     = "PUTTY PRIVATE KEY"
	JWK       = "JSON WEB KEY"
	SSHPublic = "SSH PUBLIC KEY"
	SSH2      = "SSH2 PUBLIC KEY"
)

var names = map[string]string{
	PKCS8:          "a private key",
	EncryptedPKCS8: "an encrypted private key",
	PKCS1:          "an RSA private key",
	PSS:            "an RSA private key for PSS only",
	EC:             "an elliptic curve private key",
	DSA:            "a DSA private key",
	OpenSSH:        "an OpenSSH private key",
	Sigstore:       "an encrypted private key of sigstore",
	Cosign:         "an encrypted private key of cosign",
	TPM:            "a private key that only a TPM can use",
	PGP:            "an OpenPGP private key",
	PublicKey:      "a public key",
	RSAPublicKey:   "a public key",
	Certificate:    "a certificate",
	Trusted:        "a certificate in OpenSSL's own format",
	Request:        "a certificate request",
	CRL:            "a certificate revocation list",
	PKCS7:          "certificates as PKCS #7",
	PKCS12:         "a PKCS #12 store",
	Java:           "a Java keystore",
	PuTTY:          "a PuTTY private key",
	JWK:            "a JSON Web Key",
	SSHPublic:      "an OpenSSH public key",
	SSH2:           "an SSH public key (RFC 4716)",
}

// Name returns the name of objects with a label, for people.
func Name(label string) string {
	if name := names[label]; name != "" {
		return name
	}
	return fmt.Sprintf("a PEM block %q", label)
}

// IsPrivate reports whether an object with this label contains a private key, or may contain one.
func IsPrivate(label string) bool {
	switch label {
	case PKCS12, Java, JWK, PGP:
		return true
	}
	return strings.HasSuffix(label, "PRIVATE KEY")
}

// FormError is the error for a file that holds something else than expected, or holds it in a form
// that is not supported.
type FormError struct {
	Label  string // label of the object in the file
	Beside string // label of another object in the file that was probably meant; may be empty
	Want   string // description of what is expected
	Public bool   // a public key is expected
	DER    bool   // the file is not PEM
}

func (e *FormError) Error() string {
	holds := Name(e.Label)
	if e.Beside != "" {
		holds += " beside " + Name(e.Beside)
	}
	return fmt.Sprintf("holds %s, but %s is wanted", holds, e.Want)
}
