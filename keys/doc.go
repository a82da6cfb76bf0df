// Package keys is the public side of signing: RSA public keys, the key ids by
// which IMA names them, stores of trusted keys, and the verification of
// security.ima values.
//
// It is made for programs that must stay small. It reads public keys with
// encoding/asn1 alone (crypto/x509 would bring package net with it), and it
// imports nothing of the project but package formats. Certificates are for
// keys/certs, private keys for keys/private.
//
// # Verification
//
// Verification fails closed: a value is good only if it is of a known kind, its
// hash is SHA-256, -384 or -512, the digest has that hash's size, its key id is
// in the store, that key is within its validity, the signature is exactly as
// long as the key's modulus, and RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2.2)
// holds. Everything else is an error, and each kind of error has a sentinel so
// that a report can say why.
//
// # Validity
//
// A key may carry a first and a last moment of validity, both included. They
// bound the moment of verification by the clock of the machine that verifies,
// not the moment of signing, of which a value holds no trustworthy record.
// TrustStore.Verify checks them itself, so a caller cannot forget to.
//
// # Key ids
//
// A key is known by four bytes: the last four of a certificate's subject key
// identifier, whatever that is made of, or for a key without a certificate the
// last four of SHA-1 over its PKCS #1 form (as the kernel's asymmetric keys and
// libimaevm's calc_keyid_v2 have it). An id only chooses a key. It is not
// covered by the signature and proves nothing.
package keys
