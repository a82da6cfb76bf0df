// Package keyfile finds what a key file holds: keys, certificates, stores. It reads
// no key; what it finds is for keys/certs and keys/private.
//
// People have key files in many shapes. Blocks takes off what carries no meaning: a
// byte order mark, UTF-16, other line ends, indentation, a PEM text on one line as
// environment variables have it, base64 around the whole. Each object that is left is
// one Block, with the label that PEM has for it (RFC 7468; openssl(1) for those that
// are older), also where the file is DER and has no label. Whatever stands around PEM
// blocks is text for people: openssl writes "Bag Attributes" and "subject=" there.
//
// A damaged block is an error. encoding/pem would skip it, and the next one would be
// taken for the only one.
//
// FormError refuses an object by its name. Neither it nor any other error quotes what
// it could not read: that may be a private key.
package keyfile
