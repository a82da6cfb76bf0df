// Package private is the private side of signing: every way to reach an RSA key
// as a crypto.Signer, and the making of new keys.
//
// Open turns a key reference into a signer:
//
//	signing.pem      a file
//	env://NAME       the text of one in an environment variable
//
// The file holds one RSA key of at least 2048 bits: as PEM or DER, PKCS #8 or
// PKCS #1, encrypted or not, or in a PKCS #12 store. Package keyfile finds it there.
// Several keys are refused, since any choice among them would be a guess; keys of
// other kinds, and in forms that are not read, are refused by name. Certificates that
// lie beside the key come with it, and keys/certs says whether one of them is its own.
//
// # Encryption
//
// PBES2 (RFC 8018) with PBKDF2 or scrypt, what PEM itself encrypts (RFC 1421), and what
// sigstore's tools write. A file may ask for work, and memory, without end: there
// are bounds on both. Only padding and form tell whether a decryption was right, so a
// damaged key may be taken for a wrong passphrase.
//
// PKCS #12 is read by go-pkcs12, which is a fork of the frozen golang.org/x/crypto/pkcs12
// and reads DER alone: stores with one key, and one certificate or more. The integrity
// of a store is checked with its passphrase before anything in it is decrypted.
//
// # Signing
//
// The signer makes RSASSA-PKCS1-v1_5 signatures over SHA-256, -384 and -512
// digests, and nothing else. The key is parsed once; signing holds no lock, and
// any number of goroutines may share a signer. Signing is sigstore's (pkg/signature).
//
// No error holds key material or a passphrase.
package private
