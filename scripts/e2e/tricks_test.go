package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// evil is a name that steers terminals, forges a line, runs from right to left and is no UTF-8.
const evil = "\x1b[31m\nforged: valid\r\u202e\xff\u009b%41"

// clean fails the test unless all that a command printed is harmless on a terminal and, with --json, to programs.
func (r result) clean(t *testing.T, code int) {
	t.Helper()
	r.expect(t, code)
	for _, out := range []string{r.stdout, r.stderr} {
		if !utf8.ValidString(out) {
			t.Errorf("the output is not valid UTF-8:\n%q", bed.Clip(out))
		}
		for line := range strings.SplitSeq(out, "\n") {
			if strings.HasPrefix(line, "forged") {
				t.Errorf("a name has forged a line:\n%v", r)
			}
			if bad := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); bad >= 0 {
				t.Errorf("the output has %q:\n%q", line[bad:min(len(line), bad+4)], bed.Clip(line))
			}
		}
	}
	if strings.Contains(r.line, " --json ") && r.stdout != "" {
		jsonLines(t, r.stdout)
	}
}

// TestNamesInOutput: whatever an image, a tree or an argument is called, what is printed is one line of printable text,
// or JSON.
func TestNamesInOutput(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "openssl", "sfdisk", "e2fsck")
	dir, k := bed.Dir(t), defaultKey(t)
	fs := mke2fs(t, dir, 32, append(strings.Fields(refusedArgs), "-L", "\x1b[31m\n\u202e\xff")...)
	mounted(func(p *populator) {
		for _, name := range []string{"file", "boot/vmlinuz-" + evil, "usr/lib/modules/" + evil + "/vmlinuz", "dir-" + evil + "/" + evil, "twin" + evil} {
			p.write(name, []byte(name))
		}
		p.write("etc/os-release", []byte("NAME="+strings.ReplaceAll(evil, "\n", "")+"\n"))
		p.must(os.Symlink(evil, p.path("link")))
		p.set("file", "user."+evil, []byte(evil))
	})(t, fs)
	fsck(t, fs)
	disk := filepath.Join(dir, "disk"+evil+".img")
	if err := os.WriteFile(disk, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	truncate(t, disk, 72<<20)
	peerInput(t, "label: gpt\nstart=2048, size=65536, type=linux, name=\"\x1b[31m\u202ename\"\nstart=67584, size=65536, type=linux\n", "sfdisk", "--quiet", disk)
	for _, at := range []string{"1", "33"} {
		peer(t, "dd", "if="+fs, "of="+disk, "bs=1M", "seek="+at, "conv=notrunc,sparse", "status=none")
	}
	signed, spoilt := filepath.Join(dir, "signed"+evil), filepath.Join(dir, "spoilt"+evil)
	manifest, rules := filepath.Join(dir, "manifest"+evil), filepath.Join(dir, "rules"+evil)
	imagetool(t, "sign", "--key", k.private, disk, "--out", signed, "--manifest", manifest).clean(t, 0)
	imagetool(t, "sign", "--key", k.private, fs, "--out", spoilt).clean(t, 0)
	mounted(func(p *populator) {
		p.write("twin"+evil, []byte("dir-"+evil+"/"+evil)) // the label is of another file now, and that is named
		p.swap("file", "dir-"+evil+"/"+evil)
		p.write("new"+evil, []byte("new"))
		p.must(os.Remove(p.path("link")))
		p.must(os.Symlink(evil+evil, p.path("link")))
		p.set("dir-"+evil, "user."+evil, []byte("new"))
	})(t, spoilt)
	if err := os.WriteFile(rules, []byte("sing "+evil+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	missing, policy := filepath.Join(dir, "missing"+evil), policyFile(t, dir)
	root, _ := mount(t, spoilt, false, 0)
	tree := filepath.Join(dir, "tree"+evil)
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	peer(t, "mount", "--bind", root, tree)
	defer peer(t, "umount", tree)

	for _, json := range []string{"--json=false", "--json"} {
		for _, c := range []struct {
			code int
			args []string
		}{
			{0, []string{"inspect", disk}},
			{0, []string{"ls", signed, "1:/"}},
			{0, []string{"ls", signed, "1:/dir-" + evil}},
			{0, []string{"xattr", signed, "1:/file"}},
			{1, []string{"xattr", signed, "1:/" + evil}},
			{1, []string{"ls", signed, evil}},
			{1, []string{"ls", signed, "1:/none" + evil}},
			{0, []string{"verify", "--trust", k.cert, "--all", signed}},
			{0, []string{"verify", "--trust", k.cert, "--manifest", manifest, signed}},
			{3, []string{"verify", "--trust", k.cert, "--manifest", manifest, disk}},
			{3, []string{"diff", "--trust", k.cert, disk, signed}},
			{1, []string{"diff", fs, missing}},
			{1, []string{"verify", "--trust", missing, signed}},
			{1, []string{"verify", "--trust", k.cert, "--rules", rules, signed}},
			{1, []string{"verify", "--trust", k.cert, "--manifest", rules, signed}},
			{1, []string{"sign", "--key", missing, disk, "--out", missing}},
			{1, []string{"sign", "--key", k.private, disk, "--out", signed}},
			{1, []string{"sign", "--key", k.private, "--reuse", rules, disk, "--out", missing}},
			{1, []string{"profile", "--key", k.private, "--policy", policy, disk, "--out", missing}},
			{1, []string{"profile", "--key", k.private, "--policy", rules, disk, "--out", missing}},
			{1, []string{"profile", "--key", k.private, "--policy", policy, disk, "--kernel", evil, "--out", missing}},
			{1, []string{"recover", missing}},
			{2, []string{"inspect", disk, evil}},
			{2, []string{"verify", "--" + evil, signed}},
			{2, []string{evil}},
			{2, []string{"help", evil}},
		} {
			t.Run(fmt.Sprintf("imagetool/%s/%s", strings.Join(c.args, " "), json), func(t *testing.T) {
				imagetool(t, append([]string{json}, c.args...)...).clean(t, c.code)
			})
		}
		for _, c := range []struct {
			code int
			args []string
		}{
			{3, []string{"verify", "--trust", k.cert, "--all", tree}},
			{0, []string{"sign", "--key", k.private, "--dry-run", tree}},
			{1, []string{"verify", "--trust", k.cert, missing}},
			{1, []string{"verify", "--trust", k.cert, filepath.Join(tree, "link")}},
			{1, []string{"sign", "--key", missing, tree}},
			{1, []string{"blob", "--key", k.private, missing}},
			{1, []string{"key", "show", rules}},
			{2, []string{"key", evil}},
		} {
			t.Run(fmt.Sprintf("signer/%s/%s", strings.Join(c.args, " "), json), func(t *testing.T) {
				signer(t, append([]string{json}, c.args...)...).clean(t, c.code)
			})
		}
	}
}
