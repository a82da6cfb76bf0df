package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tools skips a test for want of a tool, unless the machine is said to have all.
func tools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if ok, err := condition("tool:" + name); err != nil {
			t.Fatal(err)
		} else if !ok {
			t.Skipf("%s is not installed", name)
		}
	}
}

// shell runs a script in dir, whose files are for their owner alone.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", "umask 077\n"+script)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, errs.String())
	}
	return string(out)
}

// workshopScript makes k.pem and its certificate c.pem, whose key id is not that of the bare
// key; the same of another key, o.pem and oc.pem; and an authority, ca.pem, that has
// issued leaf.pem for k.pem. These certificates have ids of their own; none.pem has none,
// and that of short.pem is too short.
const workshopScript = `
openssl genrsa -out k.pem 2048
openssl genrsa -out o.pem 2048
openssl genrsa -out cak.pem 3072
openssl req -x509 -key k.pem -subj /CN=k -addext subjectKeyIdentifier=11:22:33:44:55:66:77:88 -out c.pem
openssl req -x509 -key o.pem -subj /CN=o -addext subjectKeyIdentifier=99:99:99:99:99:66:77:99 -out oc.pem
openssl req -x509 -key cak.pem -subj /CN=ca -addext subjectKeyIdentifier=ca:ca:ca:ca:ca:ca:ca:ca -out ca.pem
openssl req -new -key k.pem -subj /CN=leaf -out leaf.csr
printf 'subjectKeyIdentifier=11:22:33:44:1e:af:1e:af\n' >leaf.cnf
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey cak.pem -CAcreateserial -extfile leaf.cnf -out leaf.pem
openssl pkcs12 -export -inkey k.pem -in c.pem -passout pass:secret -out k.p12
openssl genpkey -algorithm RSA-PSS -out pss.pem
openssl req -x509 -key k.pem -subj /CN=none -config - -extensions v3 -out none.pem <<X
[req]
distinguished_name=dn
[dn]
[v3]
subjectKeyIdentifier=none
X
cat k.pem c.pem >kc.pem
cat k.pem leaf.pem >kl.pem
openssl req -x509 -key k.pem -subj /CN=short -addext subjectKeyIdentifier=112233 >short.pem
cat k.pem short.pem >ks.pem
printf x >file
printf secret >pass
`

var (
	makeWorkshop  sync.Once
	workshopFiles = map[string][]byte{}
)

// workshop gives a folder with these files. They are made once, since that takes seconds.
func workshop(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	makeWorkshop.Do(func() {
		shell(t, dir, workshopScript)
		paths, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if workshopFiles[filepath.Base(path)], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	})
	for name, text := range workshopFiles {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// evmctl gives the label of the file by a PEM key, with the id of the certificate behind it.
func evmctl(t *testing.T, dir, key string) string {
	t.Helper()
	return strings.TrimSpace(shell(t, dir, "evmctl ima_sign -n -a sha256 --key "+key+" file </dev/null"))
}

// TestKeyForms has openssl write one key in every form. Each gives the label that evmctl
// makes of that key, to the byte: with the id of the certificate beside it, if there is
// one, wherever it stands.
func TestKeyForms(t *testing.T) {
	tools(t, "openssl", "evmctl", "iconv", "base64")
	dir := workshop(t)
	bare, cert, leaf := evmctl(t, dir, "k.pem"), evmctl(t, dir, "kc.pem"), evmctl(t, dir, "kl.pem")
	if bare == cert || bare == leaf || cert == leaf || !strings.HasPrefix(cert, "03020455667788") || !strings.HasPrefix(leaf, "0302041eaf1eaf") {
		t.Fatalf("evmctl's labels do not tell the ids apart:\n%s\n%s\n%s", bare, cert, leaf)
	}
	const openssl3 = " -provider default -provider legacy "
	for _, tt := range []struct{ name, want, script string }{
		{"PKCS #8", bare, "cat k.pem"},
		{"PKCS #1", bare, "openssl rsa -in k.pem -traditional"},
		{"PKCS #1 with the label of PKCS #8", bare, "openssl rsa -in k.pem -traditional | sed 's/RSA PRIVATE/PRIVATE/'"},
		{"DER, PKCS #8", bare, "openssl pkcs8 -topk8 -nocrypt -in k.pem -outform DER"},
		{"DER, PKCS #1", bare, "openssl rsa -in k.pem -traditional -outform DER"},
		{"DER, encrypted", bare, "openssl pkcs8 -topk8 -in k.pem -passout pass:secret -outform DER"},
		{"encrypted", bare, "openssl pkcs8 -topk8 -in k.pem -passout pass:secret"},
		{"encrypted, scrypt", bare, "openssl pkcs8 -topk8 -scrypt -in k.pem -passout pass:secret"},
		{"encrypted, SHA-512", bare, "openssl pkcs8 -topk8 -v2prf hmacWithSHA512 -in k.pem -passout pass:secret"},
		{"encrypted, old way", bare, "openssl rsa -traditional -aes256 -in k.pem -passout pass:secret"},
		{"encrypted, old way, DES", bare, "openssl rsa -traditional" + openssl3 + "-des -in k.pem -passout pass:secret"},
		{"encrypted, old way, CRLF", bare, "openssl rsa -traditional -des3 -in k.pem -passout pass:secret | sed 's/$/\\r/'"},
		{"encrypted, old way, with certificate", cert, "openssl rsa -traditional -des3 -in k.pem -passout pass:secret; cat c.pem"},
		{"with its numbers as text", bare, "openssl rsa -in k.pem -text"},
		{"CRLF", bare, "sed 's/$/\\r/' k.pem"},
		{"BOM", bare, "printf '\\357\\273\\277'; cat k.pem"},
		{"BOM and CRLF", bare, "printf '\\357\\273\\277'; sed 's/$/\\r/' k.pem"},
		{"UTF-16", bare, "iconv -t UTF-16 k.pem"},
		{"UTF-16, big end first", bare, "printf '\\376\\377'; iconv -t UTF-16BE k.pem"},
		{"indented", bare, "sed 's/^/  /' k.pem"},
		{"on one line", bare, "tr '\\n' ' ' <k.pem"},
		{"with \\n", bare, "sed ':a;N;$!ba;s/\\n/\\\\n/g' k.pem"},
		{"base64 of PEM", bare, "base64 -w0 k.pem"},
		{"base64 of PEM, in lines", bare, "base64 k.pem"},
		{"base64 of DER", bare, "openssl rsa -in k.pem -outform DER | base64"},
		{"base64 of PKCS #12", cert, "base64 k.p12"},
		{"with a public key", bare, "openssl pkey -in k.pem -pubout; cat k.pem"},
		{"with parameters and request", bare, "openssl ecparam -name prime256v1; cat leaf.csr k.pem"},

		{"with certificate", cert, "cat k.pem c.pem"},
		{"behind its certificate", cert, "cat c.pem k.pem"},
		{"with certificate, joined", cert, "printf %s \"$(cat k.pem)\"; cat c.pem"},
		{"with certificate, CRLF and BOM", cert, "printf '\\357\\273\\277'; cat k.pem c.pem | sed 's/$/\\r/'"},
		{"with certificate, on one line", cert, "cat k.pem c.pem | tr '\\n' ' '"},
		{"with certificate, base64", cert, "cat k.pem c.pem | base64"},
		{"with certificate as text", cert, "cat k.pem; openssl x509 -in c.pem -text"},
		{"with certificate of the old label", cert, "cat k.pem; sed 's/CERT/X509 CERT/' c.pem"},
		{"encrypted, with certificate", cert, "openssl pkcs8 -topk8 -in k.pem -passout pass:secret; cat c.pem"},
		{"with certificate, PKCS #1", cert, "openssl rsa -in k.pem -traditional; cat c.pem"},
		{"with certificate twice", cert, "cat c.pem k.pem c.pem"},
		{"with its chain", leaf, "cat k.pem leaf.pem ca.pem"},
		{"with its chain, authority first", leaf, "cat ca.pem leaf.pem k.pem"},
		{"with another certificate first", cert, "cat oc.pem ca.pem k.pem c.pem"},
		{"with a certificate of a short id", evmctl(t, dir, "ks.pem"), "cat ks.pem"},
		{"with a certificate without id", bare, "cat k.pem none.pem"}, // evmctl crashes
		{"PKCS #12, with a certificate without id", bare, "openssl pkcs12 -export -inkey k.pem -in none.pem -passout pass:secret"},
		{"DER, with certificate", cert, "openssl rsa -in k.pem -outform DER; openssl x509 -in c.pem -outform DER"},

		{"PKCS #12", cert, "cat k.p12"},
		{"PKCS #12, RC2", cert, "openssl pkcs12 -export -legacy -inkey k.pem -in c.pem -passout pass:secret"},
		{"PKCS #12, 3DES", cert, "openssl pkcs12 -export -descert -keypbe PBE-SHA1-3DES -macalg sha1 -inkey k.pem -in c.pem -passout pass:secret"},
		{"PKCS #12, SHA-512", cert, "openssl pkcs12 -export -macalg sha512 -inkey k.pem -in c.pem -passout pass:secret"},
		{"PKCS #12, AES-128", cert, "openssl pkcs12 -export -certpbe AES-128-CBC -keypbe AES-128-CBC -inkey k.pem -in c.pem -passout pass:secret"},
		{"PKCS #12, key in the clear", cert, "openssl pkcs12 -export -keypbe NONE -inkey k.pem -in c.pem -passout pass:secret"},
		{"PKCS #12, nothing encrypted", cert, "openssl pkcs12 -export -keypbe NONE -certpbe NONE -nomac -inkey k.pem -in c.pem -passout pass:"},
		{"PKCS #12, empty passphrase", cert, "openssl pkcs12 -export -inkey k.pem -in c.pem -passout pass:"},
		{"PKCS #12 with a name", cert, "openssl pkcs12 -export -name 'Käse' -inkey k.pem -in c.pem -passout pass:secret"},
		{"PKCS #12 with a chain", leaf, "openssl pkcs12 -export -inkey k.pem -in leaf.pem -certfile ca.pem -passout pass:secret"},
		{"PKCS #12 to PEM", cert, "openssl pkcs12 -in k.p12 -passin pass:secret -nodes"},
		{"PKCS #12 to PEM, encrypted", cert, "openssl pkcs12 -in k.p12 -passin pass:secret -passout pass:secret"},
		{"PKCS #12 to PEM, without certificates", bare, "openssl pkcs12 -in k.p12 -passin pass:secret -nodes -nocerts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := shell(t, dir, tt.script)
			key := filepath.Join(dir, "form")
			if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			refs := []string{key}
			if !strings.Contains(text, "\x00") {
				t.Setenv("TEST_KEY", text)
				refs = append(refs, "env://TEST_KEY")
			}
			t.Setenv("TEST_KEY_BASE64", base64.StdEncoding.EncodeToString([]byte(text)))
			if !strings.HasPrefix(tt.name, "base64") && !strings.HasSuffix(tt.name, "base64") {
				refs = append(refs, "env://TEST_KEY_BASE64")
			}
			for _, ref := range refs {
				args := []string{"--passphrase-file", filepath.Join(dir, "pass"), "--key", ref, filepath.Join(dir, "file")}
				code, stdout, stderr := run(t.Context(), append([]string{"blob"}, args...)...)
				if code != 0 || stderr != "" {
					t.Errorf("%s: code %d, %s", ref, code, stderr)
				} else if strings.TrimSpace(stdout) != tt.want {
					t.Errorf("%s: label %.14s..., evmctl's %.14s...", ref, stdout, tt.want)
				}
				code, stdout, stderr = run(t.Context(), "key", "show", "--json", "--passphrase-file", filepath.Join(dir, "pass"), ref)
				if id := fmt.Sprintf(`"key_id":"%s"`, tt.want[6:14]); code != 0 || !strings.Contains(stdout, id) {
					t.Errorf("%s: key show gives %s%s, want %s", ref, stdout, stderr, id)
				}
				// What --cert says goes before what lies beside the key.
				code, stdout, stderr = run(t.Context(), append([]string{"blob", "--cert", filepath.Join(dir, "c.pem")}, args...)...)
				if code != 0 || strings.TrimSpace(stdout) != cert {
					t.Errorf("%s: with --cert: code %d, %s, label %.14s...", ref, code, stderr, stdout)
				}
			}
		})
	}
}

// TestKeySizes compares keys of other sizes, and one of three primes, with evmctl.
func TestKeySizes(t *testing.T) {
	tools(t, "openssl", "evmctl")
	dir := t.TempDir()
	shell(t, dir, "printf x >file")
	for _, args := range []string{"3072", "-primes 3 2048"} {
		shell(t, dir, "openssl genrsa -out k.pem "+args+" 2>/dev/null && openssl rsa -in k.pem -outform DER -out k.der 2>/dev/null")
		want := evmctl(t, dir, "k.pem")
		for _, key := range []string{"k.pem", "k.der"} {
			code, stdout, stderr := run(t.Context(), "blob", "--key", filepath.Join(dir, key), filepath.Join(dir, "file"))
			if code != 0 || strings.TrimSpace(stdout) != want {
				t.Errorf("%s, %s: code %d, %s label %.14s..., evmctl's %.14s...", args, key, code, stderr, stdout, want)
			}
		}
	}
}

// TestPublicForms has openssl write the certificate and the public key in every form.
// Each makes the label that evmctl made with this key id verify.
func TestPublicForms(t *testing.T) {
	tools(t, "openssl", "evmctl", "iconv", "base64")
	dir := workshop(t)
	bare, cert, leaf := evmctl(t, dir, "k.pem"), evmctl(t, dir, "kc.pem"), evmctl(t, dir, "kl.pem")
	for _, tt := range []struct{ name, want, script string }{
		{"PEM", cert, "cat c.pem"},
		{"DER", cert, "openssl x509 -in c.pem -outform DER"},
		{"CRLF", cert, "sed 's/$/\\r/' c.pem"},
		{"BOM", cert, "printf '\\357\\273\\277'; cat c.pem"},
		{"UTF-16", cert, "iconv -t UTF-16 c.pem"},
		{"text in front", cert, "openssl x509 -in c.pem -text"},
		{"public key in front", cert, "openssl x509 -in c.pem -pubkey"},
		{"the old label", cert, "sed 's/CERT/X509 CERT/' c.pem"},
		{"base64", cert, "base64 c.pem"},
		{"base64 of DER", cert, "openssl x509 -in c.pem -outform DER | base64"},
		{"on one line", cert, "tr '\\n' ' ' <c.pem"},
		{"PKCS #7 as text", cert, "openssl crl2pkcs7 -nocrl -certfile c.pem | openssl pkcs7 -print_certs"},
		{"PKCS #12 to PEM", cert, "openssl pkcs12 -in k.p12 -passin pass:secret -nokeys"},
		{"two certificates", cert, "cat oc.pem c.pem"},
		{"two certificates, joined", cert, "printf %s \"$(cat oc.pem)\"; cat c.pem"},
		{"two certificates, DER", cert, "openssl x509 -in oc.pem -outform DER; openssl x509 -in c.pem -outform DER"},
		{"other blocks between", cert, "cat oc.pem leaf.csr; openssl ecparam -name prime256v1; cat c.pem"},
		{"leaf", leaf, "cat leaf.pem"},
		{"public key", bare, "openssl pkey -in k.pem -pubout"},
		{"public key, DER", bare, "openssl pkey -in k.pem -pubout -outform DER"},
		{"public key, CRLF", bare, "openssl pkey -in k.pem -pubout | sed 's/$/\\r/'"},
		{"public key, base64", bare, "openssl pkey -in k.pem -pubout | base64"},
		{"PKCS #1 public key", bare, "openssl rsa -in k.pem -RSAPublicKey_out"},
		{"PKCS #1 public key, DER", bare, "openssl rsa -in k.pem -RSAPublicKey_out -outform DER"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			form := filepath.Join(dir, "form")
			if err := os.WriteFile(form, []byte(shell(t, dir, tt.script)), 0o600); err != nil {
				t.Fatal(err)
			}
			// --cert: the certificate says the id.
			code, stdout, stderr := run(t.Context(), "blob", "--key", filepath.Join(dir, "k.pem"), "--cert", form, filepath.Join(dir, "file"))
			if code != 0 || strings.TrimSpace(stdout) != tt.want {
				t.Errorf("--cert: code %d, %s label %.14s..., evmctl's %.14s...", code, stderr, stdout, tt.want)
			}
			// A trust store of it, which key show reads, as it does the form itself.
			trust := filepath.Join(t.TempDir(), "trust.pem")
			if code, _, stderr := run(t.Context(), "key", "trust", "--out", trust, form); code != 0 {
				t.Fatalf("key trust: %s", stderr)
			}
			for _, path := range []string{form, trust} {
				code, stdout, stderr := run(t.Context(), "key", "show", "--json", path)
				if id := fmt.Sprintf(`"key_id":"%s"`, tt.want[6:14]); code != 0 || !strings.Contains(stdout, id) {
					t.Errorf("key show: %s%s, want %s", stdout, stderr, id)
				}
			}
		})
	}
}

// TestVerifyByForms: --trust takes the same files. It sets a label, which needs a privilege.
func TestVerifyByForms(t *testing.T) {
	tools(t, "openssl", "evmctl")
	if err := canLabel(); err != nil {
		t.Skipf("security.ima cannot be set here: %v", err)
	}
	dir := workshop(t)
	shell(t, dir, "evmctl ima_sign -a sha256 --key kc.pem file </dev/null 2>/dev/null")
	for script, want := range map[string]int{
		"cat c.pem":                              0,
		"sed 's/$/\\r/' c.pem":                   0,
		"openssl x509 -in c.pem -outform DER":    0,
		"cat oc.pem c.pem":                       0,
		"openssl x509 -in c.pem -pubkey":         0,
		"cat oc.pem":                             3,
		"openssl pkey -in k.pem -pubout":         3, // the key, under another id
		"openssl x509 -in leaf.pem -outform DER": 3,
		"cat k.pem c.pem":                        1, // a private key
		"cat leaf.pem ca.pem":                    1, // a chain
	} {
		form := filepath.Join(dir, "form")
		if err := os.WriteFile(form, []byte(shell(t, dir, script)), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := run(t.Context(), "verify", "--trust", form, filepath.Join(dir, "file")); code != want {
			t.Errorf("%s: code %d, want %d\n%s%s", script, code, want, stdout, stderr)
		}
	}
}
