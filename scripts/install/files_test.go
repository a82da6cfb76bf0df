package install

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestStatic: the programs need no library, and no loader.
func TestStatic(t *testing.T) {
	r := theRelease(t)
	for name, programs := range map[string][]string{"vmseal": {"imagetool", "signer"}, "vmseal-enforcer": {"enforcer"}} {
		for _, program := range programs {
			f, err := elf.Open(filepath.Join(r.unpacked(t, name)["tar"], "usr/bin", program))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Machine != elf.EM_X86_64 || slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC }) {
				t.Errorf("%s: %v, not static", program, f.Machine)
			}
		}
	}
}

// TestMan has both readers of manual pages look for mistakes.
func TestMan(t *testing.T) {
	r := theRelease(t, "man", "mandoc")
	var pages []string
	for _, name := range []string{"vmseal", "vmseal-enforcer"} {
		found, err := filepath.Glob(filepath.Join(r.unpacked(t, name)["deb"], "usr/share/man/man[18]/*"))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	if len(pages) < 25 {
		t.Fatalf("%d pages", len(pages))
	}
	for _, page := range pages {
		var warnings strings.Builder
		man := bed.Peer("man", "--local-file", "--warnings", "--encoding=UTF-8", page)
		man.Env = append(man.Env, "MANWIDTH=80")
		man.Stderr = &warnings
		text, err := man.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("%s: man: %v\n%s", page, err, warnings.String())
		}
		if name, _, _ := strings.Cut(filepath.Base(page), "."); !strings.Contains(string(text), "\n       "+name+" - ") || strings.Contains(string(text), "1970") {
			t.Errorf("%s:\n%s", page, text)
		}
		if out, err := bed.Peer("mandoc", "-T", "lint", "-W", "warning", page).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: mandoc: %v\n%s", page, err, out)
		}
	}
}

// TestCompletion loads what the shells load, and has bash complete with it.
func TestCompletion(t *testing.T) {
	r := theRelease(t, "bash", "zsh", "fish")
	for name, programs := range map[string][]string{"vmseal": {"imagetool", "signer"}, "vmseal-enforcer": {"enforcer"}} {
		root := r.unpacked(t, name)["deb"]
		for _, program := range programs {
			for shell, path := range map[string]string{
				"bash": "bash-completion/completions/" + program, "zsh": "zsh/vendor-completions/_" + program, "fish": "fish/vendor_completions.d/" + program + ".fish",
			} {
				if out, err := exec.Command(shell, "-n", filepath.Join(root, "usr/share", path)).CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%s: %v\n%s", path, err, out)
				}
			}
		}
	}
	root := r.unpacked(t, "vmseal")["deb"]
	const library = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(library); err != nil {
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skip("bash-completion is not installed")
	}
	complete := func(words ...string) string {
		const ask = `. ` + library + `; . "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
			__start_"$1" 2>/dev/null; printf '%s\n' "${COMPREPLY[@]}"`
		cmd := exec.Command("bash", append([]string{"-c", ask, filepath.Join(root, "usr/share/bash-completion/completions", words[0])}, words...)...)
		cmd.Env = append(bed.Environment(), "PATH="+filepath.Join(root, "usr/bin")+":"+os.Getenv("PATH"))
		return run(t, cmd)
	}
	for want, words := range map[string][]string{
		"verify":     {"imagetool", "ver"},
		"--manifest": {"imagetool", "sign", "--man"},
		"@fedora":    {"imagetool", "sign", "--rules", "@fed"},
		"key":        {"signer", "k"},
	} {
		if got := strings.TrimSpace(complete(words...)); got != want {
			t.Errorf("%q: %q, want %q", words, got, want)
		}
	}
}

// TestUnits has systemd look at the units as they are installed.
func TestUnits(t *testing.T) {
	r := theRelease(t, "systemd-analyze")
	root := r.unpacked(t, "vmseal-enforcer")["deb"]
	for _, unit := range []string{"enforcer", "enforcer-xen"} {
		text := read(t, filepath.Join(root, "usr/lib/systemd/system", unit+"@.service"))
		if !strings.Contains(text, "ExecStart=/usr/bin/enforcer run ") {
			t.Errorf("%s starts something else", unit)
		}
		text = strings.NewReplacer("/usr/bin/enforcer", filepath.Join(root, "usr/bin/enforcer"), "/usr/sbin/xl", "/bin/true").Replace(text)
		dir := bed.Dir(t)
		if err := os.WriteFile(filepath.Join(dir, unit+"@.service"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := bed.Peer("systemd-analyze", "verify", filepath.Join(dir, unit+"@web.service")).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// TestBill: the bill of materials is about the programs that are installed.
func TestBill(t *testing.T) {
	r := theRelease(t)
	for _, name := range []string{"vmseal", "vmseal-enforcer"} {
		root := r.unpacked(t, name)["deb"]
		text := read(t, filepath.Join(root, "usr/share/doc", name, "sbom.cdx.json"))
		if text != read(t, r.file(t, name+"-[0-9]*.cdx.json")) {
			t.Errorf("%s has another beside it", name)
		}
		var bill struct {
			Format     string `json:"bomFormat"`
			Components []struct {
				Name, PURL string
				Hashes     []struct{ Content string }
			}
		}
		if err := json.Unmarshal([]byte(text), &bill); err != nil || bill.Format != "CycloneDX" {
			t.Fatal(err, bill.Format)
		}
		programs, modules := 0, map[string]bool{}
		for _, c := range bill.Components {
			modules[c.Name] = true
			if len(c.Hashes) == 0 {
				continue
			}
			programs++
			sum, _, _ := strings.Cut(run(t, exec.Command("sha256sum", filepath.Join(root, "usr/bin", c.Name))), " ")
			if c.Hashes[0].Content != sum {
				t.Errorf("%s: another digest", c.Name)
			}
		}
		if installed, err := os.ReadDir(filepath.Join(root, "usr/bin")); err != nil || len(installed) != programs {
			t.Errorf("%s: %d programs, %v", name, programs, err)
		}
		if !modules["stdlib"] || !modules["golang.org/x/sys"] || name == "vmseal-enforcer" && len(modules) != 3 {
			t.Errorf("%s: modules %v", name, modules)
		}
	}
}
