package enforce

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestContainer boots a guest from a qcow2 image that was signed as it is, with another key than the raw image that it
// was made of: each program is verified by that key, and one that the guest has made itself is denied.
func TestContainer(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	keys, err := theKeys()
	must(t, err)
	dir := bed.Dir(t)
	unsigned, signed := filepath.Join(dir, "unsigned.qcow2"), filepath.Join(dir, "signed.qcow2")
	_, err = bed.Output(bed.Peer("qemu-img", "convert", "-f", "raw", "-O", "qcow2", g.image, unsigned))
	must(t, err)
	must(t, os.Chown(unsigned, bed.Nobody, bed.Nobody))
	_, err = bed.Output(bed.AsNobody("imagetool", "sign", "--quiet", "--key", keys.second.private, unsigned, "--out", signed))
	must(t, err)
	o := options{kernel: "6.1", disk: signed, format: "qcow2"}
	v, e := bootGuarded(t, newGuard(t, g, o.kernel), o)
	v.expectHealthy(o)
	expectNoDenial(t, e)
	shown, err := bed.Output(bed.AsNobody("signer", "key", "show", "--json", keys.second.cert))
	must(t, err)
	verified := 0
	for _, r := range e.records() {
		if r.Verdict == "allow" && r.Digest != "" {
			verified++
			if !strings.Contains(string(shown), `"key_id":"`+r.Key+`"`) {
				t.Errorf("%s: verified by the key %s, want that of %s", r.Path, r.Key, shown)
			}
		}
	}
	if verified == 0 {
		t.Error("nothing was verified")
	}
	before := len(e.records())
	v.expect(126, "cp /bin/true /root/own && /root/own")
	e.await(before, "denying /root/own", func(r record) bool { return r.Verdict == "deny" && r.Path == "/root/own" })
}
