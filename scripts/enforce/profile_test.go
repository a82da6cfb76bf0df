package enforce

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"testing"
)

// TestProfile compares the addresses in a profile with what the running guest's kernel says of itself.
func TestProfile(t *testing.T) {
	t.Parallel()
	g := theGuest(t)
	for kernel := range g.kernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			gd := newGuard(t, g, kernel)
			text, err := os.ReadFile(gd.profile)
			must(t, err)
			var p struct {
				Release, Banner string
				Text            uint64
				TextEnd         uint64 `json:"text_end"`
				Hooks           map[string]struct {
					Address   uint64
					Prototype string
				}
				Variables map[string]uint64
			}
			must(t, json.Unmarshal(bytes.Split(text, []byte("\n"))[1], &p))
			v := boot(t, options{guest: g, kernel: kernel})
			if out := v.expect(0, "cat /proc/version"); out != p.Banner {
				t.Errorf("banner %q, in the guest %q", p.Banner, out)
			}
			v.expect(0, "sysctl -q -w kernel.kptr_restrict=0")
			same := func(name string, address uint64) {
				t.Helper()
				if out := v.expect(0, "grep -w "+name+"$ /proc/kallsyms | cut -d' ' -f1"); out != fmt.Sprintf("%016x\n", address) {
					t.Errorf("%s: %016x, in the guest %s", name, address, out)
				}
			}
			same("_text", p.Text)
			same("_etext", p.TextEnd)
			for name, address := range p.Variables {
				same(name, address)
			}
			for _, h := range p.Hooks {
				behind := uint64(0)
				if kernel != "6.1" {
					behind = 4 // ENDBR64
				}
				function := regexp.MustCompile(`(\w+)\(`).FindStringSubmatch(h.Prototype)[1]
				same(function, h.Address-behind)
			}
		})
	}
}
