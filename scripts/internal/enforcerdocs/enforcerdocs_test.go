package enforcerdocs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var built string // where the enforcer lies

// TestMain builds the enforcer, once.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		if built = os.Getenv("VMSEAL_BIN"); built == "" {
			dir, err := os.MkdirTemp("", "enforcerdocs-")
			if err != nil {
				panic(err)
			}
			defer os.RemoveAll(dir)
			built = dir
			if out, err := exec.Command("go", "build", "-o", dir, "github.com/vmseal/vmseal/enforcer/cmd/enforcer").CombinedOutput(); err != nil {
				panic(string(out))
			}
		}
		return m.Run()
	}())
}

// tool tells whether an outside program is there.
func tool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// flagsOf are the flags that the program's help lists, read in another way than Read does.
func flagsOf(t *testing.T, program, command string) (flags []string) {
	t.Helper()
	out, err := exec.Command(program, command, "-h").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ +--?([a-z-]+)\b`).FindAllStringSubmatch(string(out), -1) {
		flags = append(flags, "--"+m[1])
	}
	if len(flags) < 3 {
		t.Fatalf("enforcer %s -h lists only %q", command, flags)
	}
	return flags
}

// TestPages: each command and each flag has its place in the pages, and there is no other.
func TestPages(t *testing.T) {
	program := filepath.Join(built, "enforcer")
	p, err := Read(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	pages := p.Pages(time.Unix(0, 0).UTC())
	if len(pages) != 4 {
		t.Errorf("%d pages", len(pages))
	}
	for _, command := range []string{"run", "check", "release"} {
		page := strings.ReplaceAll(string(pages["enforcer-"+command+".8"]), `\-`, "-")
		var documented []string
		for _, m := range regexp.MustCompile(`(?m)^\.TP\n\.B "(--[a-z-]+)`).FindAllStringSubmatch(page, -1) {
			documented = append(documented, m[1])
		}
		if want := flagsOf(t, program, command); !slices.Equal(documented, want) {
			t.Errorf("%s: the page has %q, the program %q", command, documented, want)
		}
		if !strings.Contains(string(pages["enforcer.8"]), "enforcer "+command+" ") {
			t.Errorf("enforcer.8 lacks %s", command)
		}
	}
	for name, page := range pages {
		if strings.Contains(string(page), "Flags:") || !strings.Contains(string(page), "DESCRIPTION\"\n") {
			t.Errorf("%s:\n%s", name, page)
		}
	}
}

// TestBash lets bash complete.
func TestBash(t *testing.T) {
	tool(t, "bash")
	program := filepath.Join(built, "enforcer")
	p, err := Read(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	files, err := p.Completions()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "enforcer.bash")
	if err := os.WriteFile(script, files["bash"], 0o600); err != nil {
		t.Fatal(err)
	}
	complete := func(words ...string) []string {
		t.Helper()
		const ask = `. "$0"; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _enforcer; printf '%s\n' "${COMPREPLY[@]}"`
		cmd := exec.Command("bash", append([]string{"-c", ask, script}, words...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.Fields(string(out))
	}
	if got := complete("enforcer", ""); !slices.Equal(got, []string{"run", "check", "release", "help", "version"}) {
		t.Errorf("commands: %q", got)
	}
	for _, command := range []string{"run", "check", "release"} {
		if got, want := complete("enforcer", command, "--"), append(flagsOf(t, program, command), "--help"); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if got := complete("enforcer", "run", "--profile", "enf"); !slices.Equal(got, []string{"enforcer.bash"}) {
		t.Errorf("a file: %q", got)
	}
	if got := complete("enforcer", "run", "--device", ""); len(got) != 0 {
		t.Errorf("a device: %q", got)
	}
}

// TestSyntax has the other shells read their files.
func TestSyntax(t *testing.T) {
	p, err := Read(t.Context(), filepath.Join(built, "enforcer"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := p.Completions()
	if err != nil {
		t.Fatal(err)
	}
	for shell, check := range map[string]string{"bash": "-n", "zsh": "-n", "fish": "--no-execute"} {
		t.Run(shell, func(t *testing.T) {
			tool(t, shell)
			script := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(script, files[shell], 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(shell, check, script).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s\n%s", err, out, files[shell])
			}
		})
	}
	tool(t, "fish")
	script := filepath.Join(t.TempDir(), "enforcer.fish")
	if err := os.WriteFile(script, files["fish"], 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("fish", "--no-config", "-c", "source "+script+"; complete -C 'enforcer check --tr'").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "--trust\t") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestParseFlagsRefuses(t *testing.T) {
	for _, text := range []string{"", "no flag\n", "    \ttext first\n", "  -Flag\n"} {
		if flags, err := parseFlags(text); err == nil {
			t.Errorf("%q: %v", text, flags)
		}
	}
}
