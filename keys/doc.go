// Package keys is the public side of signing: RSA public keys, the key ids by
// which IMA names them, stores of trusted keys, and the verification of
// security.ima values.
//
// The part of it that the enforcer needs is in keys/trust: stores of trusted keys, and
// verification. Like that package, this one stays small (crypto/x509 would bring package
// net with it) and imports nothing of the project but package formats. Certificates are
// for keys/certs, private keys for keys/private; keys/keyfile finds both in the files that
// people have.
//
// # Verification
//
// A value is good only if it is a signature of version 2 or 3 that keys/trust finds good;
// see there. Version 1 is for VerifyV1 alone. Each kind of error has a sentinel so that a
// report can say why.
//
// # Key ids
//
// A key is known by four bytes: the last four of a certificate's subject key
// identifier, whatever that is made of, or for a key without a certificate the
// last four of SHA-1 over its PKCS #1 form (as the kernel's asymmetric keys and
// libimaevm's calc_keyid_v2 have it). An id only chooses a key. It is not
// covered by the signature and proves nothing.
package keys
