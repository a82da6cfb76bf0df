package rules

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGit compares each pattern on its own with what git makes of it.
func TestGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	paths := []string{
		"a", "b", "ab", "abc", "a.b", ".a", "*", "a*", "[a]", "{a,b}", "a b", "#a", "!a", "\\a",
		"a/b", "a/c", "b/a", "a/b/c", "c/a/b", "a/x/b", "a/x/y/b", "a/b/a/b", "x/a.b", "x/y/a.b",
		"a/.b", "{a}/b", "[a]/b", "a-b", "a]b", "-", "^", "ab/ab", "ba/a", "c/c/c/c/b",
	}
	patterns := []string{
		"a", "/a", "a/", "/a/", "a/b", "/a/b", "a/b/", "*", "**", "/*", "/**", "*/", "**/", "*.b", "/*.b",
		"a/*", "a/**", "a/*/b", "a/**/b", "**/b", "**/a/b", "/**/b", "*/b", "a*", "a**", "**a", "a**b", "a?c", "?",
		"[ab]", "[!a]", "[^a]", "[a-c]", "[a-]", "[-a]", "{a,b}", "{a}", "[{]a}", "\\*", "a\\*", "\\{a,b}", "\\[a]", "[\\]a]b",
		"[a]/b", "a b", "\\!a", "\\#a", "\\\\a", "*/*/*", "x/*.b", "a/**/", "**/x/**", "[a\\-c]", "[^!a]", "[!!a]",
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		patterns = append(patterns, randomPattern(rnd))
	}
	tried := 0
	for _, text := range patterns {
		p, err := parsePattern(text)
		if err != nil {
			continue // refused, not misunderstood
		}
		tried++
		var got []string
		for _, path := range paths {
			if p.match(path, strings.Split(path, "/")) {
				got = append(got, path)
			}
		}
		if want := gitIgnored(t, dir, text, paths); !slices.Equal(got, want) {
			t.Errorf("pattern %q as %q\n matches %q,\n in git  %q", text, p.parts, got, want)
		}
	}
	if tried < 100 {
		t.Errorf("only %d of %d patterns were accepted", tried, len(patterns))
	}
}

func gitIgnored(t *testing.T, dir, pattern string, paths []string) []string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(pattern+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("git", "-C", dir, "-c", "core.ignoreCase=false", "check-ignore", "--no-index", "-z", "--stdin")
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 1 { // 1: none is ignored
		t.Fatalf("git check-ignore: %v: %s", err, &stderr)
	}
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func randomPattern(rnd *rand.Rand) string {
	parts := []string{"a", "b", "c", "x", "*", "**", "?", "/", "/", ".", "[ab]", "[!b]", "**/", "/**", "{a", "}", "\\a"}
	var b strings.Builder
	for range 1 + rnd.IntN(6) {
		fmt.Fprint(&b, parts[rnd.IntN(len(parts))])
	}
	return b.String()
}
