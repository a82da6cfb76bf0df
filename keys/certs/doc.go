// Package certs reads RSA public keys from files in the usual forms: X.509 certificates,
// SubjectPublicKeyInfos and RSAPublicKeys, as PEM or DER, one or several in a file, and trust stores.
// Package keyfile finds them in the file. certs is separate from package keys because crypto/x509
// imports package net.
//
// The key id of a certificate is the last four bytes of its subject key identifier, whatever those
// bytes are. The kernel finds the key in this way (struct x509_certificate and
// asymmetric_key_id_partial), and evmctl writes this id (imaevm_read_keyid). The package refuses a
// certificate without an identifier, because any id would be a guess.
//
// A certificate is only a container here. The package does not check its signature, its issuer, its
// key usage or its dates. (evmctl and the kernel's IMA keyring do not check dates either.) A trust
// store decides what is trusted. With WithDates, the dates of a certificate become the validity of the
// key.
//
// # Several in a file
//
// Of the certificates beside a private key, or in a file that is given for the key id, the one with
// that key counts. evmctl takes the first. If that is the certificate of an authority, its signatures
// do not verify anywhere.
//
// All keys of a file for a trust store are trusted. A chain is refused: an issuer's signature over a
// certificate is also a signature over a file with these bytes, and whoever requests a certificate can
// influence them.
//
// Where a public key is expected, the error for a private key says so.
package certs
