package cli

import (
	"os/exec"
	"testing"
)

// TestShellName lets a shell read the names.
func TestShellName(t *testing.T) {
	for _, path := range []string{
		"disk.img", "/srv/vm 1/disk.img", "it's", `say "hi"`, `back\slash`, "$HOME", "`date`", "a!b", "~", "~root", "#1", "-rf", "--", "*", "[a]",
		"{a,b}", "a;b", "a&b", "a|b", "a<b>c", "(a)", "100%", "%41", "Käse", "日本", "a\u00b7b", "=x", "a=b",
	} {
		out, err := exec.Command("sh", "-c", "printf %s "+ShellName(path, "IMAGE")).Output()
		if want := path; err != nil || string(out) != want && string(out) != "./"+want {
			t.Errorf("%q: a shell reads %q of %s, %v", path, out, ShellName(path, "IMAGE"), err)
		}
	}
	for _, path := range []string{"two\nlines", "bell\a", "\xff", "a\u00a0b", "\u202e"} {
		if got := ShellName(path, "IMAGE"); got != "IMAGE" {
			t.Errorf("%q gives %q", path, got)
		}
	}
	if got := ShellName("-x", "IMAGE"); got != "./-x" {
		t.Errorf("a name like a flag gives %q", got)
	}
}
