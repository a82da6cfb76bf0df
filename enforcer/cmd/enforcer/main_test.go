package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/keys"
)

var rules = []string{"appraise func=BPRM_CHECK appraise_type=imasig", "appraise func=MODULE_CHECK appraise_type=imasig"}

// kit is a directory with everything that guarding a guest needs.
type kit struct {
	t   *testing.T
	dir string
	key *rsa.PrivateKey
	pub *keys.PublicKey
}

func newKit(t *testing.T) *kit {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.NewPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{t, t.TempDir(), key, pub}
	store, err := keys.NewTrustStore(pub)
	if err != nil {
		t.Fatal(err)
	}
	k.write("trust", string(store.Append(nil)))
	k.write("profile", k.sealed(key, pub, rules...))
	return k
}

func (k *kit) write(name, text string) string {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return path
}

func (k *kit) path(name string) string { return filepath.Join(k.dir, name) }

// sealed returns a profile of an invented kernel, signed by that key.
func (k *kit) sealed(key *rsa.PrivateKey, pub *keys.PublicKey, rules ...string) string {
	k.t.Helper()
	const text = 0xffffffff81000000
	hooks := map[string]profile.Hook{}
	for i, name := range profile.HookNames {
		hooks[name] = profile.Hook{Address: text + 16*uint64(i), Bytes: profile.Bytes{0x0f, 0x1f, 0x44, 0, 0}, Prototype: "int f(void)"}
	}
	sum := sha256.Sum256([]byte(bootedKernel))
	p := profile.Profile{
		Kernel:  profile.Bytes(sum[:]),
		Release: "6.1.0-test", BuildID: "0011", Banner: "Linux version 6.1.0-test\n", Text: text, TextEnd: text + 4096,
		Hooks: hooks,
		Hold:  profile.Hold{Address: text + 0x200, Code: make(profile.Bytes, profile.HoldSize)},
		Variables: profile.Variables{
			Banner: text, Appraise: text, PolicyFlag: text, KexecLoadDisabled: text, SystemState: text, RootfsType: text, PossibleCPUs: text,
		},
		Values: profile.Values{
			Funcs: map[string]uint32{
				"FILE_CHECK": 1, "MMAP_CHECK": 2, "BPRM_CHECK": 3, "MODULE_CHECK": 4, "FIRMWARE_CHECK": 5,
				"KEXEC_KERNEL_CHECK": 6, "KEXEC_INITRAMFS_CHECK": 7, "POLICY_CHECK": 8,
			},
			IntegrityFail: 2, SystemRunning: 3, CPUMask: 8,
		},
		Policy: rules,
	}
	unsigned, err := p.Marshal()
	if err != nil {
		k.t.Fatal(err)
	}
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, profile.Digest(unsigned))
	if err != nil {
		k.t.Fatal(err)
	}
	value, err := ima.SignatureV2(ima.SHA256, pub.ID, sig).Append(nil)
	if err != nil {
		k.t.Fatal(err)
	}
	return fmt.Sprintf("%ssignature %x\n", unsigned, value)
}

func call(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, &out, &err)
	return code, out.String(), err.String()
}

func (k *kit) check(extra ...string) (int, string, string) {
	return call(append([]string{"check", "--profile", k.path("profile"), "--trust", k.path("trust")}, extra...)...)
}

func TestCheck(t *testing.T) {
	k := newKit(t)
	k.write("deny", "# stolen\nsha256:"+strings.Repeat("ab", 32)+"\n\n  sha512:"+strings.Repeat("cd", 64)+"\n")
	code, out, errs := k.check("--deny", k.path("deny"), "--device", "254:1")
	if code != 0 || !strings.Contains(out, "kernel: 6.1.0-test, build 0011\nrules of the policy: 2\nkeys: 1\ndigests on the deny list: 2\n") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	code, out, _ = k.check("--json")
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if code != 0 || !strings.Contains(out, `{"build_id":"0011","denied":0,"keys":1,"release":"6.1.0-test","rules":2,"type":"check"}`) {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestCheckBoot: the booted files must be those that the profile was made from.
func TestCheckBoot(t *testing.T) {
	k := newKit(t)
	for name, text := range map[string]string{"kernel": bootedKernel, "initrd": "initrd", "other": "other"} {
		k.write(name, text)
	}
	for _, tt := range []struct {
		flag, file, says string
	}{
		{"--kernel", "kernel", ""},
		{"--kernel", "other", "but the profile has"},
		{"--kernel", "missing", "no such file"},
		{"--initrd", "initrd", "imagetool profile --initrd"}, // which the profile does not name
	} {
		code, _, errs := k.check(tt.flag, k.path(tt.file))
		if (code == 0) != (tt.says == "") || !strings.Contains(errs, tt.says) || tt.says != "" && !strings.Contains(errs, k.path(tt.file)) {
			t.Errorf("%s %s: exit %d: %s", tt.flag, tt.file, code, errs)
		}
	}
}

// bootedKernel is the content of the kernel file that the kit's profile was made from.
const bootedKernel = "kernel"

// TestCheckRefuses: the error for a bad file names the file and the reason.
func TestCheckRefuses(t *testing.T) {
	foreign := newKit(t)
	foreignProfile, err := os.ReadFile(foreign.path("profile"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		file   string
		change func(text string) string
		reason string
	}{
		"foreign profile":  {"profile", func(string) string { return string(foreignProfile) }, "unknown key"},
		"unsigned profile": {"profile", func(s string) string { return s[:strings.Index(s, "signature")] }, "not signed"},
		"changed profile":  {"profile", func(s string) string { return strings.Replace(s, "0011", "0012", 1) }, "bad signature"},
		"older profile":    {"profile", func(s string) string { return strings.Replace(s, "profile 7", "profile 6", 1) }, "make a new profile"},
		"empty profile":    {"profile", func(string) string { return "" }, "not a profile"},
		"huge profile":     {"profile", func(string) string { return strings.Repeat("x", profile.MaxSize+1) }, "more than"},
		"trust store":      {"trust", func(string) string { return "nothing" }, "trust store"},
		"certificate":      {"trust", func(string) string { return "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }, "make a trust store from it with 'signer key trust'"},
		"private key":      {"trust", func(string) string { return "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" }, `PEM block is "PRIVATE KEY"`},
		"damaged store":    {"trust", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }, "PEM block is damaged"},
		"deny list":        {"deny", func(string) string { return "sha256:abcd\n" }, "line 1: not a digest with its hash"},
		"deny list's hex":  {"deny", func(string) string { return "\nsha256:" + strings.Repeat("g", 64) + "\n" }, "line 2"},
		"no hash":          {"deny", func(string) string { return strings.Repeat("ab", 32) + "\n" }, "line 1"},
		"unknown hash":     {"deny", func(string) string { return "sm3:" + strings.Repeat("ab", 32) + "\n" }, "line 1"},
		"another length":   {"deny", func(string) string { return "sha384:" + strings.Repeat("ab", 32) + "\n" }, "line 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			k.write("deny", "sha256:"+strings.Repeat("00", 32))
			text, err := os.ReadFile(k.path(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			k.write(tt.file, tt.change(string(text)))
			code, _, errs := k.check("--deny", k.path("deny"))
			if code != exitFailed || !strings.Contains(errs, tt.reason) || !strings.Contains(errs, k.path(tt.file)) {
				t.Errorf("exit %d, want %q\n%s", code, tt.reason, errs)
			}
			const hint = "make a trust store from it"
			if strings.Contains(errs, hint) != strings.Contains(tt.reason, hint) {
				t.Errorf("%q is there, or missing:\n%s", hint, errs)
			}
		})
	}
}

// TestOthersWrite: files that another user could change are refused by name. A file of another user
// is refused unless that user runs the enforcer.
func TestOthersWrite(t *testing.T) {
	for _, file := range []string{"profile", "trust", "deny"} {
		k := newKit(t)
		path := k.path(file)
		k.write("deny", "")
		refused := func(what string) {
			t.Helper()
			code, _, errs := k.check("--deny", k.path("deny"))
			if code != exitFailed || !strings.Contains(errs, path+": other users can write to it: it belongs to user ") || !strings.Contains(errs, "hint: the file must belong to root") {
				t.Errorf("%s, %s: exit %d\n%s", file, what, code, errs)
			}
		}
		for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			refused(mode.String())
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := k.check("--deny", k.path("deny")); code != exitOK {
			t.Errorf("%s, mode 0644: exit %d\n%s", file, code, errs)
		}
		if os.Geteuid() != 0 {
			t.Log("the file of another user is not tested: that needs root")
			continue
		}
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		refused("another user's")
	}
}

// TestPins: the pins do not depend on who signed the profile, and change with the rules.
func TestPins(t *testing.T) {
	k, other := newKit(t), newKit(t)
	pins := func(k *kit, profile string) string {
		t.Helper()
		k.write("profile", profile)
		f := files{profilePath: k.path("profile"), trustPath: k.path("trust")}
		if _, err := f.load(); err != nil {
			t.Fatal(err)
		}
		return f.pins
	}
	want := pins(k, k.sealed(k.key, k.pub, rules...))
	if got := pins(other, other.sealed(other.key, other.pub, rules...)); got != want || len(got) != 64 {
		t.Errorf("signed by another key: %q, want %q", got, want)
	}
	if got := pins(k, k.sealed(k.key, k.pub, rules[1], rules[0])); got == want {
		t.Error("the same with the rules in another order")
	}
}

func TestUsage(t *testing.T) {
	k := newKit(t)
	files := []string{"--profile", k.path("profile"), "--trust", k.path("trust")}
	for name, args := range map[string][]string{
		"nothing":         {},
		"unknown command": {"start"},
		"unknown flag":    {"check", "--nonsense"},
		"missing flag":    {"check", "--profile", "p"},
		"argument":        append([]string{"check", "more"}, files...),
		"no guest":        append([]string{"run"}, files...),
		"kind of guest":   append([]string{"run", "--guest", "vbox:1"}, files...),
		"descriptor":      append([]string{"run", "--guest", "gdb:fd:x"}, files...),
		"standard stream": append([]string{"run", "--guest", "gdb:fd:1"}, files...),
		"trap":            append([]string{"run", "--guest", "gdb:unix:/none", "--trap", "soft"}, files...),
		"trap of Xen":     append([]string{"run", "--guest", "gdb:unix:/none", "--trap", "str"}, files...),
		"trap of QEMU":    append([]string{"run", "--guest", "xen:none", "--trap", "hardware"}, files...),
		"no int3":         append([]string{"run", "--guest", "xen-debug:none", "--trap", "str"}, files...),
		"no domain":       append([]string{"run", "--guest", "xen-monitor:"}, files...),
		"wait":            append([]string{"run", "--guest", "gdb:unix:/none", "--wait", "-1"}, files...),
		"no heartbeat":    append([]string{"run", "--guest", "gdb:unix:/none", "--heartbeat", "0"}, files...),
		"endless limit":   append([]string{"run", "--guest", "gdb:unix:/none", "--start-limit", "18446744073709551615"}, files...),
		"audit-full":      append([]string{"run", "--guest", "gdb:unix:/none", "--audit-full", "wait"}, files...),
		"device":          append([]string{"run", "--guest", "gdb:unix:/none", "--device", "vda"}, files...),
		"device to check": append([]string{"check", "--device", "254"}, files...),
		"release":         {"release"},
	} {
		if code, _, errs := call(args...); code != exitUsage || !strings.HasPrefix(errs, "error: ") || !strings.Contains(errs, "\nhint: ") {
			t.Errorf("%s: exit %d\n%s", name, code, errs)
		}
	}
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"check", "-h"}, {"release", "--help"}, {"version"}} {
		if code, out, errs := call(args...); code != 0 || out == "" || errs != "" {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, errs)
		}
	}
}

// TestUnreachable: if the guest cannot be reached, the error has a hint.
func TestUnreachable(t *testing.T) {
	k := newKit(t)
	files := []string{"--profile", k.path("profile"), "--trust", k.path("trust")}
	code, _, errs := call(append([]string{"run", "--guest", "gdb:unix:" + k.path("none"), "--audit", k.path("audit")}, files...)...)
	if code != exitFailed || !strings.Contains(errs, k.path("none")) || !strings.Contains(errs, "hint: start QEMU with -S") {
		t.Errorf("exit %d\n%s", code, errs)
	}
	if _, err := os.Stat("/dev/xen/privcmd"); err == nil {
		t.Skip("this is a dom0: /dev/xen/privcmd is there")
	}
	for _, name := range []string{"xen:none", "xen-debug:1", "xen-monitor:none"} {
		code, _, errs := call(append([]string{"run", "--guest", name, "--audit", k.path("audit")}, files...)...)
		if code != exitFailed || !strings.Contains(errs, "/dev/xen/privcmd") || !strings.Contains(errs, "hint: run the enforcer as root in dom0") {
			t.Errorf("%s: exit %d\n%s", name, code, errs)
		}
	}
}

// TestWait: --wait waits for a socket that appears later, and not longer than it says. The socket
// here is not QEMU's; it is enough that the enforcer connects.
func TestWait(t *testing.T) {
	k := newKit(t)
	dir, err := os.MkdirTemp("", "wait") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "gdb")
	args := []string{"run", "--guest", "gdb:unix:" + path, "--profile", k.path("profile"), "--trust", k.path("trust"), "--audit", k.path("audit")}
	began := time.Now()
	if code, _, errs := call(append(args, "--wait", "1")...); code != exitFailed || !strings.Contains(errs, path) || time.Since(began) < time.Second {
		t.Errorf("exit %d after %v\n%s", code, time.Since(began), errs)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil { // from here on connections are refused
		t.Fatal(err)
	}
	ended := make(chan string)
	go func() {
		_, _, errs := call(append(args, "--wait", "3600")...)
		ended <- errs
	}()
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	other, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(other)
	if errs := <-ended; !strings.Contains(errs, "talking to QEMU's gdb stub") {
		t.Errorf("%s", errs)
	}
}

// TestTrustReload: files that cannot be read change nothing. Only loading is tested here; the tests
// with guests check that the new trust takes effect.
func TestTrustReload(t *testing.T) {
	k := newKit(t)
	f := files{trustPath: k.path("trust"), denyPath: k.write("deny", "sha256:"+strings.Repeat("00", 32))}
	trust, err := f.loadTrust()
	if err != nil || len(trust.Denied) != 1 || len(trust.Keys.Keys()) != 1 {
		t.Fatalf("%+v, %v", trust, err)
	}
	if err := syscall.Unlink(f.denyPath); err != nil {
		t.Fatal(err)
	}
	if _, err := f.loadTrust(); err == nil {
		t.Error("a missing deny list is accepted")
	}
}

func FuzzDeny(f *testing.F) {
	f.Add([]byte("# c\nsha384:" + strings.Repeat("ab", 48) + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		denied, err := parseDeny(text)
		if err != nil {
			return
		}
		for d := range denied {
			if n := len(d); n != 32 && n != 48 && n != 64 {
				t.Fatalf("a digest of %d bytes", n)
			}
		}
	})
}
