package enforce

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// verityOwner owns the files for which the policy asks for fs-verity.
const verityOwner = "1234"

// verityRules come before the rules for all files: the kernel takes the first that matches.
const verityRules = `appraise func=BPRM_CHECK digest_type=verity appraise_type=sigv3 fowner=` + verityOwner + `
appraise func=MMAP_CHECK mask=MAY_EXEC digest_type=verity appraise_type=sigv3 fowner=` + verityOwner + `
`

// digestOwner owns the files for which the policy asks for any label before they are read.
const digestOwner = "4321"

const digestRule = "appraise func=FILE_CHECK mask=MAY_READ fowner=" + digestOwner + "\n"

// TestSoftwareTraps runs a guest with software breakpoints: files under fs-verity with signatures of version 3, files whose
// digest is enough for reading, and gdb with breakpoints and watchpoints inside the guest.
func TestSoftwareTraps(t *testing.T) {
	t.Parallel()
	gd := newGuard(t, theGuest(t), "6.1")
	rules, err := os.ReadFile(gd.policy)
	must(t, err)
	gd.setPolicy(t, verityRules+digestRule+string(rules))
	v, e := bootGuarded(t, gd, options{}, "--trap", "software", "--allow-digest")
	expectNoDenial(t, e)
	t.Run("debugger", func(t *testing.T) { v.t = t; v.expectDebugger() })
	for _, c := range []struct {
		name    string
		label   func(v *vm, k *keySet, digest []byte) string
		allowed bool
	}{
		{"version 3", func(v *vm, k *keySet, digest []byte) string { return v3(t, k.sealed, fileID(digest)) }, true},
		{"version 3 of the second key", func(v *vm, k *keySet, digest []byte) string { return v3(t, k.second, fileID(digest)) }, true},
		{"foreign key", func(v *vm, k *keySet, digest []byte) string { return v3(t, k.foreign, fileID(digest)) }, false},
		{"over the digest itself", func(v *vm, k *keySet, digest []byte) string { return v3(t, k.sealed, digest) }, false},
		{"of another file", func(v *vm, k *keySet, _ []byte) string { return v3(t, k.sealed, fileID(make([]byte, 32))) }, false},
		{"version 2 over the contents", func(v *vm, k *keySet, _ []byte) string {
			sum, err := hex.DecodeString(strings.Fields(v.expect(0, "sha256sum /root/verity"))[0])
			must(t, err)
			return blob(t, k.sealed, sum)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v.t, e.v.t = t, t
			keys, err := theKeys()
			must(t, err)
			digest := v.verityFile("/root/verity")
			v.expect(0, "setfattr -n security.ima -v 0x"+c.label(v, keys, digest)+" /root/verity")
			if !c.allowed {
				v.expectDenied("/root/verity good")
				return
			}
			before := len(e.records())
			v.expect(0, "/root/verity good")
			want := fmt.Sprintf("%x", fileID(digest))
			e.await(before, "the digest that was signed", func(r record) bool {
				return r.Verdict == "allow" && r.Path == "/root/verity" && r.Digest == want
			})
		})
	}
	t.Run("digest", func(t *testing.T) {
		v.t, e.v.t = t, t
		label := func(digest string) string { return "setfattr -n security.ima -v 0x0404" + digest + " /root/read" }
		own := "$(sha256sum /opt/t/program/good | cut -c1-64)"
		v.expect(0, "cp /opt/t/program/good /root/read && "+label(own)+" && chown "+digestOwner+" /root/read")
		before := len(e.records())
		v.expect(0, "cmp /root/read /opt/t/program/good")
		e.await(before, "reading", func(r record) bool { return r.Verdict == "allow" && r.Path == "/root/read" && r.Func == "FILE_CHECK" })
		v.expectDenied("/root/read") // a digest is not enough for executing
		v.expect(2, label(strings.Repeat("00", 32))+" && cmp /root/read /opt/t/program/good")
		v.expect(2, "setfattr -x security.ima /root/read && cmp /root/read /opt/t/program/good")
	})
	t.Run("deny list", func(t *testing.T) {
		v.t, e.v.t = t, t
		keys, err := theKeys()
		must(t, err)
		digest := v.verityFile("/root/verity")
		relabel := "setfattr -n security.ima -v 0x" + v3(t, keys.sealed, fileID(digest)) + " /root/verity"
		v.expect(0, relabel+" && /root/verity good")
		must(t, os.WriteFile(gd.denied, fmt.Appendf(nil, "# a file under fs-verity\nsha256:%x\n", fileID(digest)), 0o644))
		must(t, e.process.Signal(syscall.SIGHUP))
		if !e.log.await("1 denied digests", hostLimit) {
			t.Fatalf("nothing was said about SIGHUP: %s", e.log)
		}
		v.expectDenied(relabel + " && /root/verity good") // a label that is set is looked at anew
	})
	v.t, e.v.t = t, t
	v.expect(0, "/opt/t/program/good")
	v.expectDenied("/opt/t/program/unsigned")
}

// verityFile makes a new file under fs-verity, without a label, and gives its fs-verity digest as the kernel has it.
func (v *vm) verityFile(path string) []byte {
	v.t.Helper()
	v.expect(0, "rm -f "+path+" && cp /opt/t/program/good "+path+" && chown "+verityOwner+" "+path+" && probe verity "+path)
	algorithm, digest, _ := strings.Cut(strings.Fields(v.expect(0, "fsverity measure "+path))[0], ":")
	b, err := hex.DecodeString(digest)
	if err != nil || algorithm != "sha256" || len(b) != 32 {
		v.t.Fatalf("fsverity measure says %s:%s", algorithm, digest)
	}
	return b
}

// fileID is the digest of struct ima_file_id (security/integrity/ima/ima.h): type 6, hash algorithm 4, digest.
func fileID(digest []byte) []byte {
	sum := sha256.Sum256(append([]byte{6, 4}, digest...))
	return sum[:]
}

// blob is the label over a digest, in hexadecimal.
func blob(t *testing.T, k key, digest []byte) string {
	t.Helper()
	out, err := bed.Output(bed.AsNobody("signer", "blob", "--key", k.private, "--digest", hex.EncodeToString(digest)))
	must(t, err)
	return strings.TrimSpace(string(out))
}

// v3 makes of a label of version 2 one of version 3, whose header is the same.
func v3(t *testing.T, k key, digest []byte) string {
	t.Helper()
	label := blob(t, k, digest)
	if !strings.HasPrefix(label, "0302") {
		t.Fatalf("the label begins with %.8s", label)
	}
	return "0603" + label[4:]
}
