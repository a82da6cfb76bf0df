// Package keys contains the public side of signing: RSA public keys, their IMA key ids, stores of
// trusted keys, and the verification of security.ima values.
//
// The part that the enforcer needs is in keys/trust: stores of trusted keys and verification.
// Package keys stays small, too: it does not import crypto/x509, which imports package net. Of this
// project it imports only keys/trust and packages of formats. Certificates are in keys/certs,
// private keys in keys/private. keys/keyfile finds both in key files.
//
// # Verification
//
// A value is good only if it is a signature of version 2 or 3 that keys/trust accepts. Only
// VerifyV1 accepts version 1. Each kind of error has a sentinel, so that a report can give the
// reason.
//
// # Key ids
//
// A key id has four bytes. They are the last four bytes of a certificate's subject key identifier,
// whatever that contains. For a key without a certificate they are the last four bytes of SHA-1
// over its PKCS #1 form (as for the kernel's asymmetric keys and in libimaevm's calc_keyid_v2). An
// id only selects a key. The signature does not cover it, and it proves nothing.
package keys
