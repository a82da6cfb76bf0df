package gdbstub

import (
	"strings"
	"testing"
)

// TestWarnings: options are found in each form that QEMU accepts, and nothing else is mistaken for
// them.
func TestWarnings(t *testing.T) {
	const reboot, nested, unknown = "without -no-reboot", "without -cpu ...,svm=off,vmx=off", "cannot be read"
	for line, want := range map[string][]string{
		"qemu -no-reboot -cpu max,svm=off,vmx=off":                              nil,
		"qemu --cpu host,-vmx,-svm -S --no-reboot":                              nil,
		"qemu -action panic=none,reboot=shutdown -cpu a,svm=off -cpu b,vmx=off": nil,
		"qemu -no-reboot":                                    {nested},
		"qemu -no-reboot -cpu max,svm=off":                   {nested},
		"qemu -no-reboot -cpu max,svm=on,vmx=off":            {nested},
		"qemu -no-reboot -cpu svm=off -name vmx=off":         {nested},
		"qemu -no-reboots -cpu max,svm=off,vmx=off":          {reboot},
		"qemu -action reboot=reset -cpu max,svm=off,vmx=off": {reboot},
		"qemu no-reboot":                                     {reboot, nested},
		"":                                                   {unknown},
	} {
		text := strings.ReplaceAll(line, " ", "\x00")
		if text != "" {
			text += "\x00" // the kernel ends it like this
		}
		got := (&Guest{command: strings.Split(text, "\x00")}).Warnings()
		if len(got) != len(want) {
			t.Errorf("%q: %q", line, got)
			continue
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%q: %q, want %q", line, got[i], want[i])
			}
		}
	}
	if _, g := newStub(t, nil); len(g.Warnings()) != 1 || !strings.Contains(g.Warnings()[0], unknown) {
		t.Errorf("unknown process: %q", g.Warnings())
	}
}

// TestCommandLine reads the command line of a running QEMU.
func TestCommandLine(t *testing.T) {
	g := boot(t, 1, "-cpu", "max,svm=off,vmx=off").dial(t)
	if w := g.Warnings(); w != nil {
		t.Errorf("%q", w)
	}
	g = boot(t, 1).dial(t)
	if w := g.Warnings(); len(w) != 1 || !strings.Contains(w[0], "svm=off") {
		t.Errorf("%q", w)
	}
}
