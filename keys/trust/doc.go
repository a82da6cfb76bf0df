// Package trust has stores of trusted RSA keys, reads them, and verifies signatures
// with them.
//
// It is the part of package keys that is made for programs which must stay small: it
// reads public keys with encoding/asn1 alone (crypto/x509 would bring package net with
// it), and imports nothing of the project but formats/digsig. Everything else about
// public keys, the writing of stores and labels of other kinds are in package keys.
//
// # Verification
//
// Verification fails closed: a signature is good only if its hash is SHA-256, -384 or
// -512, the digest has that hash's size, its key id is in the store, that key is within
// its validity, the signature is exactly as long as the key's modulus, and
// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2.2) holds. Everything else is an error, and
// each kind of error has a sentinel so that a report can say why.
//
// # Validity
//
// A key may carry a first and a last moment of validity, both included. They bound the
// moment of verification by the clock of the machine that verifies, not the moment of
// signing, of which a value holds no trustworthy record. Store.Verify checks them
// itself, so a caller cannot forget to.
package trust
