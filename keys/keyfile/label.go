package keyfile

import (
	"fmt"
	"strings"
)

// The labels of PEM, RFC 7468 and openssl(1).
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
	X509        = "X509 CERTIFICATE"    // another name for the same
	Trusted     = "TRUSTED CERTIFICATE" // with openssl's own data behind it
	Request     = "CERTIFICATE REQUEST"
	CRL         = "X509 CRL"
	PKCS7       = "PKCS7"
)

// Labels of our own, for what is no PEM.
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

// Name names what has that label to people.
func Name(label string) string {
	if name := names[label]; name != "" {
		return name
	}
	return fmt.Sprintf("a PEM block %q", label)
}

// IsPrivate reports whether what has that label holds a private key, or may hold one.
func IsPrivate(label string) bool {
	switch label {
	case PKCS12, Java, JWK, PGP:
		return true
	}
	return strings.HasSuffix(label, "PRIVATE KEY")
}

// FormError says that a file holds something else than what is wanted, or that in a
// form which is not read.
type FormError struct {
	Label  string // of what it holds
	Beside string // the label of what lies beside it, if that is what was meant
	Want   string // in words
	Public bool   // a public key is wanted
	DER    bool   // the file is no PEM
}

func (e *FormError) Error() string {
	holds := Name(e.Label)
	if e.Beside != "" {
		holds += " beside " + Name(e.Beside)
	}
	return fmt.Sprintf("holds %s, but %s is wanted", holds, e.Want)
}
