// Package certs reads RSA public keys from files in the forms in which people
// have them: X.509 certificates, SubjectPublicKeyInfos and RSAPublicKeys, as PEM or
// DER, one or several, or trust stores. Package keyfile finds them there. It stands
// apart from package keys because crypto/x509 brings package net with it.
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
//
// # Several in a file
//
// Of the certificates that lie beside a private key, or that a file for its key id
// holds, the one counts whose key is that key. evmctl takes the first, and so writes
// labels that verify nowhere when that is an authority's.
//
// A file to be trusted is trusted whole, but for a chain: there the issuer's
// signature over a certificate is also one over a file with those bytes, which
// whoever asks for a certificate has a say in.
//
// A private key is refused by name wherever a public one is wanted.
package certs
