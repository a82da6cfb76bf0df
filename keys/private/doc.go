// Package private contains the private side of signing: it opens RSA keys as crypto.Signer, and
// makes new keys.
//
// Open turns a key reference into a signer:
//
//	signing.pem      a file
//	env://NAME       the text of a key file in an environment variable
//
// The file contains one RSA key of at least 2048 bits: PEM or DER, PKCS #8 or PKCS #1, encrypted or
// not, or a PKCS #12 store. Package keyfile finds the key. The package refuses files with several keys,
// because any choice would be a guess. Its errors name other kinds of keys and unsupported forms.
// Certificates beside the key are returned with it, and keys/certs finds the one that belongs to the
// key.
//
// # Encryption
//
// Supported are PBES2 (RFC 8018) with PBKDF2 or scrypt, the encryption of PEM (RFC 1421), and the format
// of sigstore's tools. A file may request any amount of work and memory, so both have limits. Only
// padding and form show whether a decryption was right, so a damaged key may look like a wrong
// passphrase.
//
// go-pkcs12, a fork of the frozen golang.org/x/crypto/pkcs12, reads PKCS #12 stores. It reads only DER:
// stores with one key and at least one certificate. It checks the integrity of a store with the
// passphrase before it decrypts anything.
//
// # Signing
//
// The signer makes RSASSA-PKCS1-v1_5 signatures over SHA-256, -384 and -512 digests, and nothing else.
// The key is parsed once. Signing holds no lock, and any number of goroutines may share a signer.
// sigstore's pkg/signature does the signing.
//
// No error contains key material or a passphrase.
package private
