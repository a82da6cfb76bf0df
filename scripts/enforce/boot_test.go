package enforce

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPlainBoot boots without any enforcement: that the bed works, and that each of the cases would run.
func TestPlainBoot(t *testing.T) {
	g := theGuest(t)
	for _, o := range []options{{kernel: "6.1"}, {kernel: "6.12"}, {kernel: "6.1", dracut: true}, {kernel: "6.1", readonly: true}} {
		t.Run(fmt.Sprintf("%s dracut=%v readonly=%v", o.kernel, o.dracut, o.readonly), func(t *testing.T) {
			o.guest = g
			begin := time.Now()
			v := boot(t, o)
			t.Logf("ready after %v", time.Since(begin).Round(100*time.Millisecond))
			if out := v.expect(0, "uname -r"); strings.TrimSpace(out) != g.kernels[o.kernel].release {
				t.Errorf("uname -r: %s", out)
			}
			if out := v.expect(0, "systemctl --failed --no-legend --plain"); out != "" {
				t.Errorf("units failed:\n%s", out)
			}
			for _, k := range kinds {
				if strings.HasPrefix(k.name, "module") && k.name != "module-"+o.kernel {
					continue
				}
				for _, c := range signatureCases {
					v.expect(0, k.use(c.name))
				}
			}
		})
	}
}
