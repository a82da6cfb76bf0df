// Package private is the private side of signing: every way to reach an RSA key
// as a crypto.Signer, and the making of new keys.
//
// Open turns a key reference into a signer:
//
//	signing.pem      a PEM file
//	env://NAME       the PEM text in an environment variable
//
// The PEM text holds one RSA key of at least 2048 bits as PKCS #8, encrypted or
// not, or as PKCS #1. Encryption is PBES2 (RFC 8018) with PBKDF2 or scrypt, as
// openssl writes it. The older encryption of PEM itself, which derives its key
// with one round of MD5, is refused.
//
// The signer makes RSASSA-PKCS1-v1_5 signatures over SHA-256, -384 and -512
// digests, and nothing else. The key is parsed once; signing holds no lock, and
// any number of goroutines may share a signer.
//
// Reading PEM and signing are sigstore's (pkg/cryptoutils, pkg/signature), and
// the decryption beneath is youmark/pkcs8's. What a file asks for is checked
// before they see it: neither bounds the work that a key derivation may ask for,
// and the cipher panics on an initialization vector of the wrong size.
//
// No error holds key material or a passphrase.
package private
