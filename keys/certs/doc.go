// Package certs reads RSA public keys from files in the forms in which people
// have them: an X.509 certificate or a SubjectPublicKeyInfo, as PEM or DER, or a
// trust store. It stands apart from package keys because crypto/x509 brings
// package net with it.
//
// The key id of a certificate is the last four bytes of its subject key
// identifier, whatever those are: so the kernel finds the key (struct
// x509_certificate and asymmetric_key_id_partial) and so evmctl writes the id
// (imaevm_read_keyid). A certificate without one is refused, since any id made
// up for it would be a guess.
//
// A certificate is a container here and nothing more. Its own signature, its
// issuer, its key usage and its dates are not looked at, as evmctl and the
// kernel's IMA keyring do not look at its dates; trust is what a trust store
// says. WithDates takes a certificate's dates over as the validity of the key,
// for those who ask for it.
package certs
