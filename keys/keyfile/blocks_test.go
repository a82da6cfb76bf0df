package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/vmseal/vmseal/keys/internal/testkit"
)

// Two blocks. They need not be keys.
var (
	one = pem.EncodeToMemory(&pem.Block{Type: PKCS8, Bytes: bytes.Repeat([]byte("secret"), 30)})
	two = pem.EncodeToMemory(&pem.Block{Type: Certificate, Headers: map[string]string{"Name": "x y"}, Bytes: bytes.Repeat([]byte{2}, 90)})
)

func lines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }

func utf16Text(order binary.AppendByteOrder, s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

// TestShapes writes two blocks in every supported shape and finds them again.
func TestShapes(t *testing.T) {
	plain := string(one) + string(two)
	flat := string(bytes.ReplaceAll(one, []byte("\n"), []byte(" "))) + string(bytes.ReplaceAll(pem.EncodeToMemory(&pem.Block{Type: Certificate, Bytes: bytes.Repeat([]byte{2}, 90)}), []byte("\n"), []byte(" ")))
	b64 := base64.StdEncoding.EncodeToString([]byte(plain))
	for name, tt := range map[string]struct {
		data    []byte
		headers bool
	}{
		"as it is":            {[]byte(plain), true},
		"CRLF":                {[]byte(strings.ReplaceAll(plain, "\n", "\r\n")), true},
		"CR":                  {[]byte(strings.ReplaceAll(plain, "\n", "\r")), true},
		"BOM":                 {[]byte("\ufeff" + plain), true},
		"BOM and CRLF":        {[]byte("\ufeff" + strings.ReplaceAll(plain, "\n", "\r\n")), true},
		"UTF-16LE":            {utf16Text(binary.LittleEndian, plain), true},
		"UTF-16BE":            {utf16Text(binary.BigEndian, plain), true},
		"no last line end":    {[]byte(strings.TrimSpace(plain)), true},
		"joined by cat":       {[]byte(strings.TrimSpace(string(one)) + string(two)), true},
		"indented":            {[]byte("    " + strings.Join(lines(plain), "\n    ")), true},
		"trailing blanks":     {[]byte(strings.ReplaceAll(plain, "\n", " \t\n")), true},
		"empty lines":         {[]byte("\n\n" + string(one) + "\n\n" + string(two) + "\n"), true},
		"text around":         {[]byte("Bag Attributes\n    friendlyName: x\n" + string(one) + "subject=CN = x\n\n" + string(two) + "end\n"), true},
		"\\n for line ends":   {[]byte(strings.ReplaceAll(plain, "\n", `\n`)), true},
		"\\r\\n for them":     {[]byte(`"` + strings.ReplaceAll(plain, "\n", `\r\n`) + `"`), true},
		"on one line":         {[]byte(flat), false},
		"base64":              {[]byte(b64), true},
		"base64 in lines":     {[]byte(strings.Join([]string{b64[:76], b64[76:152], b64[152:]}, "\r\n") + "\n"), true},
		"base64 of CRLF":      {[]byte(base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(plain, "\n", "\r\n")))), true},
		"longer base64 lines": {[]byte(strings.Replace(plain, "c2VjcmV0\n", "c2VjcmV0", 1)), true},
	} {
		blocks, err := Blocks(tt.data)
		if err != nil || len(blocks) != 2 {
			t.Errorf("%s: %d blocks, %v", name, len(blocks), err)
			continue
		}
		for i, text := range [][]byte{one, two} {
			want, _ := pem.Decode(text)
			if b := blocks[i]; b.Label != want.Type || !bytes.Equal(b.Bytes, want.Bytes) {
				t.Errorf("%s: block %d is %q %x, want %q %x", name, i+1, b.Label, b.Bytes, want.Type, want.Bytes)
			}
		}
		if tt.headers && (blocks[1].Headers["Name"] != "x y" || !bytes.Equal(blocks[1].Text, two)) {
			t.Errorf("%s: headers %v, text\n%s", name, blocks[1].Headers, blocks[1].Text)
		}
		Clear(blocks)
		if bytes.ContainsFunc(append(blocks[0].Bytes, blocks[0].Text...), func(r rune) bool { return r != 0 }) {
			t.Errorf("%s: not cleared", name)
		}
	}
}

// TestDamage tests damaged blocks, which encoding/pem would skip.
func TestDamage(t *testing.T) {
	good, other := string(one), string(two)
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":        {"", "empty"},
		"white space":    {" \r\n\t", "empty"},
		"only a BOM":     {"\ufeff", "neither PEM nor DER"},
		"text":           {"hunter2 secret", "neither PEM nor DER"},
		"base64 of text": {base64.StdEncoding.EncodeToString([]byte("hunter2 secret")), "neither PEM nor DER"},
		"cut":            {good[:100], "block 1 (\"PRIVATE KEY\") is damaged: it has no end"},
		"cut, another":   {good[:100] + "\n" + other, "block 1 (\"PRIVATE KEY\") is damaged: it has no end"},
		"cut, the same":  {good[:100] + "\n" + good, "block 1 (\"PRIVATE KEY\") is damaged"},
		"second cut":     {other + good[:100], "block 2 (\"PRIVATE KEY\") is damaged: it has no end"},
		"bad base64":     {strings.Replace(good, "c2Vj", "c!Vj", 1), "block 1 (\"PRIVATE KEY\") is damaged"},
		"no contents":    {"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "damaged"},
		"other end":      {strings.Replace(good, "END PRIVATE", "END PUBLIC", 1), "it has no end"},
		"no label":       {"-----BEGIN \n" + good, "it has no label"},
		"endless label":  {"-----BEGIN " + strings.Repeat("A", 99) + "-----\n" + good, "it has no label"},
	} {
		blocks, err := Blocks([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, error %v does not say %q", name, blocks, err, tt.want)
			continue
		}
		for _, secret := range []string{"hunter2", "c2Vjc", "secret"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: error %q quotes what it read", name, err)
			}
		}
	}
	if _, err := Blocks([]byte("hello")); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// TestForeign tests the formats that are only recognized.
func TestForeign(t *testing.T) {
	for text, want := range map[string]string{
		"PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\n":                   PuTTY,
		"\ufeffPuTTY-User-Key-File-2: ssh-rsa\r\n":                             PuTTY,
		"ssh-rsa AAAAB3NzaC1yc2E me@here\n":                                    SSHPublic,
		"ecdsa-sha2-nistp256 AAAA me\n":                                        SSHPublic,
		"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----": SSH2,
		`{"kty":"RSA","d":"x"}`:                                                JWK,
		"\xfe\xed\xfe\xed\x00\x00\x00\x02":                                     Java,
		"\xce\xce\xce\xce\x00\x00\x00\x02":                                     Java,
		"\x30\x80\x02\x01\x03\x30\x80":                                         PKCS12,
		"\x30\x80\x06\x09\x2a\x86":                                             PKCS7,
		"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOY\n=ab12\n-----END PGP PRIVATE KEY BLOCK-----\n": PGP,
	} {
		blocks, err := Blocks([]byte(text))
		if err != nil || len(blocks) != 1 || blocks[0].Label != want {
			t.Errorf("%q: %v, %v, want %q", text, blocks, err, want)
		}
	}
}

// TestDER recognizes the objects that openssl writes.
func TestDER(t *testing.T) {
	testkit.Tool(t, "openssl")
	dir := t.TempDir()
	run := func(args string) { testkit.Run(t, dir, "openssl", strings.Fields(args)...) }
	run("genrsa -out k.pem 2048")
	run("req -x509 -key k.pem -subj /CN=x -out c.pem")
	run("ecparam -name prime256v1 -genkey -noout -out ec.pem")
	run("dsaparam -genkey -noout -out dsa.pem 1024")
	testkit.Write(t, dir+"/index.txt", nil)
	testkit.Write(t, dir+"/ca.cnf", []byte("[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\n"))
	for args, want := range map[string]string{
		"rsa -in k.pem -traditional -outform DER":                                    PKCS1,
		"pkcs8 -topk8 -nocrypt -in k.pem -outform DER":                               PKCS8,
		"pkcs8 -topk8 -passout pass:x -in k.pem -outform DER":                        EncryptedPKCS8,
		"ec -in ec.pem -outform DER":                                                 EC,
		"pkcs8 -topk8 -nocrypt -in ec.pem -outform DER":                              PKCS8,
		"dsa -in dsa.pem -outform DER":                                               DSA,
		"genpkey -algorithm ed25519 -outform DER":                                    PKCS8,
		"pkey -in k.pem -pubout -outform DER":                                        PublicKey,
		"pkey -in ec.pem -pubout -outform DER":                                       PublicKey,
		"rsa -in k.pem -RSAPublicKey_out -outform DER":                               RSAPublicKey,
		"x509 -in c.pem -outform DER":                                                Certificate,
		"req -new -key k.pem -subj /CN=x -outform DER":                               Request,
		"ca -config ca.cnf -gencrl -crldays 9 -md sha256 -keyfile k.pem -cert c.pem": CRL,
		"crl2pkcs7 -nocrl -certfile c.pem -outform DER":                              PKCS7,
		"pkcs12 -export -in c.pem -inkey k.pem -passout pass:x":                      PKCS12,
		"pkcs12 -export -in c.pem -inkey k.pem -nomac -passout pass:x":               PKCS12,
	} {
		out := testkit.Run(t, dir, "openssl", strings.Fields(args)...)
		if p, _ := pem.Decode(out); p != nil { // openssl ca cannot write DER
			out = p.Bytes
		}
		blocks, err := Blocks(out)
		if err != nil || len(blocks) != 1 || blocks[0].Label != want || !bytes.Equal(blocks[0].Bytes, out) {
			t.Errorf("%s: %v, want %q", args, err, want)
			continue
		}
		// Also two in a row, as base64, and cut.
		if blocks, err := Blocks(append(bytes.Clone(out), out...)); err != nil || len(blocks) != 2 || blocks[1].Label != want {
			t.Errorf("%s, twice: %v", args, err)
		}
		if blocks, err := Blocks([]byte(base64.StdEncoding.EncodeToString(out))); err != nil || len(blocks) != 1 || blocks[0].Label != want {
			t.Errorf("%s, base64: %v", args, err)
		}
		if _, err := Blocks(out[:len(out)-1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s, cut: %v", args, err)
		}
	}
}

func TestNames(t *testing.T) {
	for label := range names {
		if err := (&FormError{Label: label, Want: "a key"}).Error(); !strings.HasPrefix(err, "holds "+Name(label)) || !strings.HasSuffix(err, ", but a key is wanted") {
			t.Errorf("%s: %s", label, err)
		}
	}
	if err := (&FormError{Label: PKCS8, Beside: Certificate, Want: "x"}).Error(); err != "holds a private key beside a certificate, but x is wanted" {
		t.Error(err)
	}
	if Name("NEW\x1b") != `a PEM block "NEW\x1b"` {
		t.Error(Name("NEW\x1b"))
	}
	for label, want := range map[string]bool{PKCS8: true, "NEW PRIVATE KEY": true, PKCS12: true, PGP: true, Certificate: false, PublicKey: false, "DH PARAMETERS": false} {
		if IsPrivate(label) != want {
			t.Error(label)
		}
	}
}

// FuzzBlocks: either each PEM marker of a text belongs to a returned block, or there is an error.
func FuzzBlocks(f *testing.F) {
	f.Add(append(bytes.Clone(one), two...))
	f.Add(bytes.ReplaceAll(one, []byte("\n"), []byte(" ")))
	f.Add([]byte(base64.StdEncoding.EncodeToString(one)))
	f.Add(utf16Text(binary.LittleEndian, string(two)))
	f.Add([]byte("-----BEGIN A-----\n-----BEGIN A-----\nAAAA\n-----END A-----"))
	f.Add([]byte("\x30\x03\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		blocks, err := Blocks(data)
		if (len(blocks) == 0) == (err == nil) {
			t.Fatalf("%d blocks, %v", len(blocks), err)
		}
		if n := bytes.Count(plain(data), []byte(begin)); err == nil && len(blocks) < n && findDER(data) == nil {
			t.Fatalf("%d of %d blocks found", len(blocks), n)
		}
	})
}
