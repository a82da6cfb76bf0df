package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestOtherKeys: an image comes with labels that evmctl made with the keys of others, by other hashes and of other
// kinds. They are replaced and counted apart; what verifies by a key that is named is left alone.
func TestOtherKeys(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "evmctl", "openssl")
	dir, k, vendor := bed.Dir(t), defaultKey(t), testKey(t, "vendor", 3072)
	ec := filepath.Join(dir, "ec.pem")
	peer(t, "openssl", "genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", ec)
	image := mke2fs(t, dir, 32, strings.Fields(refusedArgs)...)
	mounted(func(p *populator) {
		for _, name := range []string{"plain", "vendor", "vendor512", "changed", "ecdsa", "digest"} {
			p.write(name, []byte(name))
		}
		sign := func(key, hash, name string) { peer(t, "evmctl", "ima_sign", "-a", hash, "-k", key, p.path(name)) }
		sign(vendor.private, "sha256", "vendor")
		sign(vendor.private, "sha512", "vendor512")
		sign(vendor.private, "sha256", "changed")
		sign(ec, "sha256", "ecdsa")
		peer(t, "evmctl", "ima_hash", "-a", "sha256", p.path("digest"))
		p.write("changed", []byte("other contents")) // the label stays
	})(t, image)
	before := viewImage(t, image, 0)

	r := imagetool(t, "sign", "--key", k.private, image, "--dry-run").expect(t, 0)
	for name, listed := range map[string]bool{"vendor": true, "vendor512": true, "changed": true, "ecdsa": true, "plain": false, "digest": false} {
		if strings.Contains(r.stdout, "/"+name+": a signature by another key, ") != listed {
			t.Errorf("/%s listed: not %v:\n%v", name, listed, r)
		}
	}
	all := filepath.Join(dir, "all.img")
	if r := imagetool(t, "sign", "--key", k.private, image, "--out", all).expect(t, 0); !strings.Contains(r.stdout, " 4 replaced (other key)") {
		t.Errorf("labels of other keys are not counted:\n%v", r)
	}
	expectSigned(t, k, before, viewImage(t, all, 0))

	kept := filepath.Join(dir, "kept.img")
	r = imagetool(t, "sign", "--key", k.private, "--keep-valid", vendor.cert, image, "--out", kept).expect(t, 0)
	if !strings.Contains(r.stdout, " 2 kept") || !strings.Contains(r.stdout, " 2 replaced (other key)") {
		t.Errorf("not two kept and two replaced:\n%v", r)
	}
	fsck(t, kept)
	after := viewImage(t, kept, 0)
	compareViews(t, before, after, true)
	values := wantedValues(t, after)
	expectValues(t, after, func(path string) string {
		if path == "/vendor" || path == "/vendor512" {
			return before[path].Xattrs[imaName]
		}
		return values[after[path].Sum]
	})
	both := filepath.Join(dir, "both.pem")
	peer(t, "sh", "-c", `cat "$1" "$2" >"$3"`, "sh", k.cert, vendor.cert, both)
	imagetool(t, "verify", "--trust", both, kept).expect(t, 0)
	imagetool(t, "verify", "--trust", k.cert, kept).expect(t, 3)
	imagetool(t, "verify", "--trust", vendor.cert, kept, "/vendor", "/vendor512").expect(t, 0)
	r = imagetool(t, "xattr", "--trust", both, kept, "/vendor512").expect(t, 0)
	for _, want := range []string{"signature, version 2", "sha512", "(vendor)", "valid"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("xattr does not say %q:\n%v", want, r)
		}
	}
}
