// Package trust implements stores of trusted RSA keys, and verifies signatures with them.
//
// It is the part of package keys for programs that must stay small. It parses public keys with
// encoding/asn1 only (crypto/x509 would import package net), and of this project it imports only
// formats/digsig. Package keys does everything else with public keys: it writes trust stores and
// handles other kinds of security.ima values.
//
// # Verification
//
// Verification fails closed. A signature is good only if all of these hold:
//
//   - its hash is SHA-256, -384 or -512
//   - the digest has the size of that hash
//   - its key id is in the store
//   - the key is valid now
//   - the signature is exactly as long as the key's modulus
//   - RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2.2) verifies it
//
// Everything else is an error. Each kind of error has a sentinel, so that a report can give the reason.
//
// # Validity
//
// A key may have a first and a last moment of validity, both inclusive. They apply to the time of
// verification, by the clock of the verifying machine. They do not apply to the time of signing, of
// which a value contains no trustworthy record. Store.Verify checks them itself, so a caller cannot
// forget it.
package trust
