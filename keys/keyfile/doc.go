// Package keyfile finds the objects in a key file: keys, certificates, stores. It does not parse
// keys; keys/certs and keys/private do that.
//
// Key files come in many shapes. Blocks removes what carries no meaning: a byte order mark, UTF-16,
// other line ends, indentation, a PEM text on one line as in environment variables, base64 around the
// whole file. Each remaining object is one Block with its PEM label (RFC 7468; openssl(1) for older
// labels), even if the file is DER and has no labels. Text around PEM blocks is ignored: openssl writes
// "Bag Attributes" and "subject=" there.
//
// A damaged block is an error. encoding/pem would skip it, and the next block would appear to be the
// only one.
//
// FormError names the object that it refuses. No error quotes data that could not be read, because
// that may be a private key.
package keyfile
