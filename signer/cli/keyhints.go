package cli

import (
	"errors"

	"github.com/vmseal/vmseal/keys/certs"
	"github.com/vmseal/vmseal/keys/keyfile"
	"github.com/vmseal/vmseal/keys/private"
)

// These commands read OLD and write NEW.pem. Tests run them as they stand here. None
// leaves a private key on disk in the clear that was encrypted before.
const (
	toPKCS8      = "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in OLD -out NEW.pem"
	toPublic     = "openssl pkey -in OLD -pubout -out NEW.pem"
	toCert       = "openssl x509 -in OLD -out NEW.pem"
	toBarePublic = "openssl x509 -in OLD -pubkey -noout >NEW.pem"

	fromPKCS12   = "openssl pkcs12 -in OLD -out NEW.pem"
	certsPKCS12  = "openssl pkcs12 -in OLD -nokeys -out NEW.pem"
	fromPKCS7    = "openssl pkcs7 -in OLD -print_certs -out NEW.pem"
	fromPKCS7DER = "openssl pkcs7 -inform DER -in OLD -print_certs -out NEW.pem"
	fromPSS      = "openssl rsa -in OLD -traditional | sed 's/ RSA-PSS / RSA /' | openssl pkcs8 -topk8 -out NEW.pem"
	fromOpenSSH  = "cp OLD NEW.pem && ssh-keygen -p -m PKCS8 -f NEW.pem"
	publicOfSSH  = "ssh-keygen -e -m PKCS8 -f OLD >NEW.pem"
	fromSSH2     = "ssh-keygen -i -m RFC4716 -f OLD >NEW.pub && ssh-keygen -e -m PKCS8 -f NEW.pub >NEW.pem"
	fromPuTTY    = "puttygen OLD -O private-openssh -o NEW.pem"
	publicOfPPK  = "puttygen OLD -O public-openssh -o NEW.pub && ssh-keygen -e -m PKCS8 -f NEW.pub >NEW.pem"
	fromKeystore = "keytool -importkeystore -srckeystore OLD -destkeystore NEW.p12 -deststoretype PKCS12"
)

// keyHint knows what may be wrong with a key.
func keyHint(err error) string {
	if e, ok := errors.AsType[*keyfile.FormError](err); ok {
		return formHint(e)
	}
	switch {
	case errors.Is(err, private.ErrPassphraseRequired):
		return "give --passphrase-file FILE, set " + passphraseVariable + ", or run on a terminal"
	case errors.Is(err, private.ErrPassphrase):
		return "a passphrase file holds one line; a line end behind it does not count"
	case errors.Is(err, private.ErrEncryption):
		return "convert it: " + toPKCS8 + " (OpenSSL 3 wants -provider default -provider legacy for ciphers such as DES and RC2)"
	case errors.Is(err, private.ErrPKCS12):
		return "convert it to PEM: " + fromPKCS12
	case errors.Is(err, private.ErrSeveral):
		return "choose one; this takes the first, alone: " + toPKCS8
	case errors.Is(err, private.ErrScheme):
		return "a key is the path of a file, or env://VARIABLE that holds the text of one"
	case errors.Is(err, private.ErrNotRSA), errors.Is(err, private.ErrWeak):
		return newKeyHint
	case errors.Is(err, private.ErrExposed):
		return "chmod 600 keeps it to its owner"
	case errors.Is(err, certs.ErrChain):
		return "name only the certificate whose key signs files; this takes the first, alone: " + toCert
	case errors.Is(err, certs.ErrAmbiguous):
		return "choose one for --cert; this takes the first, alone: " + toCert
	case errors.Is(err, certs.ErrOtherKey):
		return "name the certificate of the key with --cert; or this takes the key alone, whose id is then made of the key itself: " + toPKCS8
	case errors.Is(err, certs.ErrNoKeyID):
		return "a key alone has an id that is made of the key itself. For signing: " + toPKCS8 + ". For verifying: " + toBarePublic
	}
	return ""
}

const newKeyHint = "IMA labels of this kind are RSA signatures; 'signer key new --out DIR' makes a key"

// formHint knows what makes another form of a key out of one that is not read.
func formHint(e *keyfile.FormError) string {
	commands := map[string]string{
		keyfile.OpenSSH: fromOpenSSH,
		keyfile.PuTTY:   fromPuTTY,
		keyfile.Java:    fromKeystore,
	}
	if e.Public {
		commands = map[string]string{
			keyfile.PKCS8: toPublic, keyfile.EncryptedPKCS8: toPublic, keyfile.PKCS1: toPublic,
			keyfile.PKCS12: certsPKCS12, keyfile.PKCS7: fromPKCS7, keyfile.Trusted: toCert,
			keyfile.OpenSSH: publicOfSSH, keyfile.SSHPublic: publicOfSSH, keyfile.SSH2: fromSSH2, keyfile.PuTTY: publicOfPPK,
		}
	}
	switch command := commands[e.Label]; {
	case e.Label == keyfile.PKCS7 && e.Public && e.DER:
		return "this takes the certificates: " + fromPKCS7DER
	case e.Label == keyfile.Trusted:
		return "this makes a plain one, for --cert too: " + command
	case e.Beside == keyfile.Certificate:
		return "this takes the certificate alone: " + toCert
	case e.Label == keyfile.PSS && !e.Public:
		return "'signer key new --out DIR' makes a key for PKCS #1 v1.5, as IMA labels are; if this one may be used for that too, convert it: " + fromPSS
	case e.Label == keyfile.OpenSSH && !e.Public:
		return "make a copy that OpenSSH converts: " + command
	case e.Public && command != "":
		return "this takes the public part: " + command
	case command != "":
		return "convert it: " + command
	case e.Public:
		return "'signer key new --out DIR' makes a key and its certificate"
	case !keyfile.IsPrivate(e.Label):
		return "give the file of the private key that belongs to it, or make a new key: signer key new --out DIR"
	}
	return newKeyHint
}
