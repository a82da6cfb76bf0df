package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command finds the commands of a hint, which read OLD and make NEW.
var command = regexp.MustCompile(`: ((?:openssl|cp|ssh-keygen|puttygen|keytool) .*?)(?: \(|\. For verifying|\n|$)`)

// prompt is what the tools ask a person with.
var prompt = regexp.MustCompile(`(?i)(?:pass ?phrase|password)[^:\n]*:`)

// typed is what the person answers, also for a new passphrase.
const typed = "secret"

// converse runs a command on a terminal, and answers whenever it asks.
func converse(t *testing.T, dir, script string) {
	t.Helper()
	term := newTerminal(t)
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.command, term.command, term.command
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	late := time.After(60 * time.Second)
	for answered := 0; ; {
		for ; answered < len(prompt.FindAllString(term.screen(), -1)); answered++ {
			if _, err := term.person.WriteString(typed + "\n"); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-term.more:
		case err := <-exited:
			if err != nil {
				t.Fatalf("%s: %v\n%s", script, err, term.screen())
			}
			return
		case <-late:
			cmd.Process.Kill()
			t.Fatalf("%s: waits\n%s", script, term.screen())
		}
	}
}

// hintOf runs signer, which must refuse, and gives its hint.
func hintOf(t *testing.T, says string, args ...string) string {
	t.Helper()
	code, _, stderr := run(t.Context(), args...)
	_, hint, ok := strings.Cut(stderr, "\nhint: ")
	if code != 1 || !ok || !strings.Contains(stderr, says) {
		t.Fatalf("%v: code %d, %s\nwant an error that says %q, and a hint", args, code, stderr, says)
	}
	return hint
}

// follow runs the command of a hint, and gives what it made.
func follow(t *testing.T, dir, hint string, n int) string {
	t.Helper()
	found := command.FindAllStringSubmatch(hint, -1)
	if len(found) <= n {
		t.Fatalf("no command %d in the hint %q", n+1, hint)
	}
	script := found[n][1]
	if strings.Contains(hint, "-provider legacy") && exec.Command("sh", "-c", "openssl version | grep -q 'OpenSSL 3'").Run() == nil {
		script = strings.Replace(script, "-topk8", "-topk8 -provider default -provider legacy", 1)
	}
	converse(t, dir, script)
	for _, name := range []string{"NEW.pem", "NEW.p12"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil {
			if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "PRIVATE") && info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v", script, info.Mode(), err)
			}
			return path
		}
	}
	t.Fatalf("%s: made nothing", script)
	return ""
}

// TestPrivateHints makes keys that are refused, does what the hint says, as a person
// would on a terminal, and signs with the result.
func TestPrivateHints(t *testing.T) {
	tools(t, "openssl", "evmctl", "ssh-keygen", "puttygen")
	shop := workshop(t)
	bare, cert := evmctl(t, shop, "k.pem"), evmctl(t, shop, "kc.pem")
	const plain = "openssl rsa -traditional -in k.pem -out OLD"
	for name, tt := range map[string]struct {
		script string // makes OLD
		says   string
		want   string // the label; "" for that of evmctl by the new key
	}{
		"OpenSSH":               {plain + "; ssh-keygen -q -p -N '' -f OLD", "holds an OpenSSH private key", bare},
		"OpenSSH, encrypted":    {plain + "; ssh-keygen -q -p -N secret -f OLD", "holds an OpenSSH private key", bare},
		"PSS":                   {"cp pss.pem OLD", "for PSS only", ""},
		"PSS, encrypted":        {"openssl pkcs8 -topk8 -in pss.pem -passout pass:secret -out OLD", "for PSS only", ""},
		"PuTTY":                 {"openssl rsa -traditional -in k.pem -out x; puttygen x -o OLD", "holds a PuTTY private key", bare},
		"PuTTY, encrypted":      {"openssl rsa -traditional -in k.pem -out x; puttygen x -o OLD --new-passphrase pass", "holds a PuTTY private key", bare},
		"old way, Camellia":     {"openssl rsa -traditional -camellia256 -in k.pem -passout pass:secret -out OLD", "cipher \"CAMELLIA-256-CBC\" of PEM", bare},
		"old way, SEED":         {"openssl rsa -provider default -provider legacy -traditional -seed -in k.pem -passout pass:secret -out OLD", "cipher \"SEED-CBC\" of PEM", bare},
		"PBES2, Camellia":       {"openssl pkcs8 -topk8 -v2 camellia-256-cbc -in k.pem -passout pass:secret -out OLD", "not supported: cipher", bare},
		"PBES1, 3DES":           {"openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in k.pem -passout pass:secret -out OLD", "only PBES2 is", bare},
		"PBES1, MD5 and DES":    {"openssl pkcs8 -provider default -provider legacy -topk8 -v1 PBE-MD5-DES -in k.pem -passout pass:secret -out OLD", "only PBES2 is", bare},
		"PBES1, RC2":            {"openssl pkcs8 -provider default -provider legacy -topk8 -v1 PBE-SHA1-RC2-40 -in k.pem -passout pass:secret -out OLD", "only PBES2 is", bare},
		"PKCS #12, no cert":     {"openssl pkcs12 -export -nocerts -inkey k.pem -passout pass:secret -out OLD", "PKCS #12 store is", bare},
		"PKCS #12, Camellia":    {"openssl pkcs12 -export -certpbe camellia-128-cbc -inkey k.pem -in c.pem -passout pass:secret -out OLD", "PKCS #12 store is", cert},
		"PKCS #12, BER":         {"(printf '\\060\\200'; tail -c +5 k.p12; printf '\\000\\000') >OLD", "PKCS #12 store is", cert},
		"two keys":              {"cat k.pem o.pem >OLD", "holds 2 private keys", bare},
		"another's certificate": {"cat k.pem oc.pem >OLD", "certificate belongs to another key", bare},
	} {
		t.Run(name, func(t *testing.T) {
			dir := workshop(t)
			shell(t, dir, tt.script)
			args := []string{"blob", "--passphrase-file", filepath.Join(dir, "pass"), filepath.Join(dir, "file"), "--key"}
			made := follow(t, dir, hintOf(t, tt.says, append(args, filepath.Join(dir, "OLD"))...), 0)
			code, stdout, stderr := run(t.Context(), append(args, made)...)
			if code != 0 || stderr != "" {
				t.Fatalf("what was converted: code %d, %s", code, stderr)
			}
			want := tt.want
			if want == "" { // the key in the clear, for evmctl
				shell(t, dir, "openssl pkcs8 -topk8 -nocrypt -in "+made+" -passin pass:secret -out clear.pem 2>/dev/null")
				want = evmctl(t, dir, "clear.pem")
			}
			if strings.TrimSpace(stdout) != want {
				t.Errorf("label %.14s..., evmctl's %.14s...", stdout, want)
			}
		})
	}
}

// TestCertificateHints: these lead to a file for --cert.
func TestCertificateHints(t *testing.T) {
	tools(t, "openssl", "evmctl")
	shop := workshop(t)
	cert := evmctl(t, shop, "kc.pem")
	for name, tt := range map[string]struct {
		script string // makes OLD
		says   string
		as     string // what OLD is given as
	}{
		"two of one key":          {"cat k.pem c.pem leaf.pem >OLD", "different subject key identifiers: key ids 55667788 and 1eaf1eaf", "--key"},
		"trusted, beside the key": {"openssl x509 -in c.pem -addtrust serverAuth -trustout -out x; cat k.pem x >OLD", "in OpenSSL's own format", "--key"},
		"trusted":                 {"openssl x509 -in c.pem -addtrust serverAuth -trustout -out OLD", "in OpenSSL's own format", "--cert"},
		"two":                     {"cat c.pem leaf.pem >OLD", "different subject key identifiers", "--cert"},
		"with the key":            {"cat k.pem c.pem >OLD", "holds a private key beside a certificate", "--cert"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := workshop(t)
			shell(t, dir, tt.script)
			old, args := filepath.Join(dir, "OLD"), []string{"blob", filepath.Join(dir, "file"), "--key", filepath.Join(dir, "k.pem")}
			if tt.as == "--key" {
				args[3] = old
			}
			refused := args
			if tt.as == "--cert" {
				refused = append(refused, "--cert", old)
			}
			made := follow(t, dir, hintOf(t, tt.says, refused...), 0)
			code, stdout, stderr := run(t.Context(), append(args, "--cert", made)...)
			if code != 0 || strings.TrimSpace(stdout) != cert {
				t.Errorf("code %d, %s label %.14s..., evmctl's %.14s...", code, stderr, stdout, cert)
			}
		})
	}
}

// TestPublicHints makes files that are no public key, does what the hint says, and looks
// for the key in what comes of it.
func TestPublicHints(t *testing.T) {
	tools(t, "openssl", "evmctl", "ssh-keygen", "puttygen")
	shop := workshop(t)
	bare, cert := evmctl(t, shop, "k.pem")[6:14], evmctl(t, shop, "kc.pem")[6:14]
	for name, tt := range map[string]struct {
		script string // makes OLD
		says   string
		want   string // key id
		n      int    // which command of the hint
	}{
		"private key":            {"cp k.pem OLD", "holds a private key", bare, 0},
		"PKCS #1":                {"openssl rsa -in k.pem -traditional -out OLD", "holds an RSA private key", bare, 0},
		"DER":                    {"openssl pkcs8 -topk8 -nocrypt -in k.pem -outform DER -out OLD", "holds a private key", bare, 0},
		"encrypted":              {"openssl pkcs8 -topk8 -in k.pem -passout pass:secret -out OLD", "holds an encrypted private key", bare, 0},
		"encrypted, old way":     {"openssl rsa -in k.pem -traditional -aes128 -passout pass:secret -out OLD", "holds an RSA private key", bare, 0},
		"with certificate":       {"cat k.pem c.pem >OLD", "holds a private key beside a certificate", cert, 0},
		"PKCS #12":               {"cp k.p12 OLD", "holds a PKCS #12 store", cert, 0},
		"PKCS #7":                {"openssl crl2pkcs7 -nocrl -certfile c.pem -out OLD", "holds certificates as PKCS #7", cert, 0},
		"PKCS #7, DER":           {"openssl crl2pkcs7 -nocrl -certfile c.pem -outform DER -out OLD", "holds certificates as PKCS #7", cert, 0},
		"trusted":                {"openssl x509 -in c.pem -addtrust serverAuth -trustout -out OLD", "in OpenSSL's own format", cert, 0},
		"chain":                  {"cat leaf.pem ca.pem >OLD", "certificates of a chain", "1eaf1eaf", 0},
		"certificate without id": {"cp none.pem OLD", "no subject key identifier", bare, 1},
		"OpenSSH, private":       {"openssl rsa -traditional -in k.pem -out OLD; ssh-keygen -q -p -N secret -f OLD", "holds an OpenSSH private key", bare, 0},
		"OpenSSH":                {"ssh-keygen -y -f k.pem >OLD", "holds an OpenSSH public key", bare, 0},
		"SSH2":                   {"ssh-keygen -y -f k.pem >x; ssh-keygen -e -m RFC4716 -f x >OLD", "holds an SSH public key (RFC 4716)", bare, 0},
		"PuTTY":                  {"openssl rsa -traditional -in k.pem -out x; puttygen x -o OLD --new-passphrase pass", "holds a PuTTY private key", bare, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := workshop(t)
			shell(t, dir, tt.script)
			trust := filepath.Join(dir, "trust.pem")
			made := follow(t, dir, hintOf(t, tt.says, "key", "trust", "--out", trust, filepath.Join(dir, "OLD")), tt.n)
			code, stdout, stderr := run(t.Context(), "key", "trust", "--json", "--out", trust, made)
			if code != 0 || strings.Count(stdout, `"type":"key"`) != 1 || !strings.Contains(stdout, `"key_id":"`+tt.want+`"`) {
				t.Errorf("what was converted: code %d, %s%s, want %s", code, stdout, stderr, tt.want)
			}
		})
	}
}

// TestJavaHint needs a Java runtime, which is large, and is not asked for.
func TestJavaHint(t *testing.T) {
	tools(t, "openssl", "evmctl")
	if _, err := exec.LookPath("keytool"); err != nil {
		t.Skipf("keytool is not installed: %v", err)
	}
	dir := workshop(t)
	shell(t, dir, `keytool -importkeystore -srckeystore k.p12 -srcstorepass secret -destkeystore OLD -deststoretype JKS -deststorepass secret -destkeypass secret`)
	args := []string{"blob", "--passphrase-file", filepath.Join(dir, "pass"), filepath.Join(dir, "file"), "--key"}
	made := follow(t, dir, hintOf(t, "holds a Java keystore", append(args, filepath.Join(dir, "OLD"))...), 0)
	code, stdout, stderr := run(t.Context(), append(args, made)...)
	if want := evmctl(t, dir, "kc.pem"); code != 0 || strings.TrimSpace(stdout) != want {
		t.Errorf("code %d, %s label %.14s..., evmctl's %.14s...", code, stderr, stdout, want)
	}
}

// TestNoConversion: where nothing converts a key, the hint makes one.
func TestNoConversion(t *testing.T) {
	tools(t, "openssl", "ssh-keygen")
	dir := t.TempDir()
	for script, says := range map[string]string{
		"openssl ecparam -name prime256v1 -genkey -out OLD": "an elliptic curve private key",
		"openssl genpkey -algorithm ed25519 -out OLD":       "an Ed25519 key",
		"ssh-keygen -q -t ed25519 -N '' -f OLD":             "ssh-ed25519",
		"openssl genrsa -out OLD 1024 2>/dev/null":          "1024 bits",
		"openssl genrsa -3 -out OLD 2048 2>/dev/null":       "exponent 3",
		`echo '{"kty":"RSA","d":"x"}' >OLD`:                 "a JSON Web Key",
	} {
		shell(t, dir, "rm -rf OLD new; "+script)
		hint := hintOf(t, says, "blob", "--key", filepath.Join(dir, "OLD"), filepath.Join(dir, "OLD"))
		if command.MatchString(hint) || !strings.Contains(hint, "'signer key new --out DIR'") {
			t.Errorf("%s: hint %q", script, hint)
		}
		if code, _, stderr := run(t.Context(), "key", "new", "--out", filepath.Join(dir, "new")); code != 0 {
			t.Error(stderr)
		}
	}
}
