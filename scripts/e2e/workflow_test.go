package e2e

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// summary is the closing object of --json output.
func (r result) summary(t *testing.T) map[string]any {
	t.Helper()
	for _, o := range jsonLines(t, r.stdout) {
		if o["type"] == "summary" {
			return o
		}
	}
	t.Fatalf("no summary:\n%v", r)
	return nil
}

func expectNumber(t *testing.T, o map[string]any, field string, want int) {
	t.Helper()
	if got, ok := o[field].(float64); !ok || int(got) != want {
		t.Errorf("%s is %v, want %d, in %v", field, o[field], want, o)
	}
}

// TestReuse: a rebuilt image asks the key only for what is new, and takes nothing on trust.
func TestReuse(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "evmctl", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	first, out, manifest := smallImage(t, dir), filepath.Join(dir, "out.img"), filepath.Join(dir, "manifest")
	distinct := len(wantedDigests(viewImage(t, first, 0)))
	s := imagetool(t, "sign", "--json", "--key", k.private, first, "--out", out, "--manifest", manifest).expect(t, 0).summary(t)
	expectNumber(t, s, "signatures", distinct)
	expectManifest(t, manifest, first, out)

	rebuild := func(t *testing.T, change func(p *populator)) (image string, before view) {
		image = smallImage(t, bed.Dir(t)) // the same files in a file system of its own
		mounted(change)(t, image)
		return image, viewImage(t, image, 0)
	}
	check := func(reuse string, signatures int, change func(p *populator)) func(*testing.T) {
		return func(t *testing.T) {
			image, before := rebuild(t, change)
			again := filepath.Join(filepath.Dir(image), "again.img")
			s := imagetool(t, "sign", "--json", "--key", k.private, image, "--out", again, "--reuse", reuse).expect(t, 0).summary(t)
			expectNumber(t, s, "signatures", signatures)
			fsck(t, again)
			expectSigned(t, k, before, viewImage(t, again, 0))
		}
	}
	nothing := func(p *populator) {}
	t.Run("manifest", check(manifest, 0, nothing))
	t.Run("image", check(out, 0, nothing))
	t.Run("one-new-file", check(manifest, 1, func(p *populator) { p.write("new", []byte("new contents")) }))
	t.Run("forged-manifest", check(forge(t, dir, manifest), distinct, nothing))
	t.Run("second-run", func(t *testing.T) {
		s := imagetool(t, "sign", "--json", "--key", k.private, out, "--out", filepath.Join(dir, "second.img")).expect(t, 0).summary(t)
		expectNumber(t, s, "signatures", 0)
		expectNumber(t, s, "signed", 0)
	})
	t.Run("other-key", func(t *testing.T) { // the last build's values are another key's: all are made anew
		other, dir := testKey(t, "other", 2048), bed.Dir(t)
		again := filepath.Join(dir, "again.img")
		s := imagetool(t, "sign", "--json", "--key", other.private, first, "--out", again, "--reuse", manifest).expect(t, 0).summary(t)
		expectNumber(t, s, "signatures", distinct)
		imagetool(t, "verify", "--trust", other.public, again).expect(t, 0)
	})
}

func wantedDigests(v view) map[string]bool {
	digests := map[string]bool{}
	for _, path := range v.regular() {
		digests[v[path].Sum] = true
	}
	return digests
}

// expectManifest: the digests of both images, and each name with its digest and value.
func expectManifest(t *testing.T, manifest, before, after string) {
	t.Helper()
	f, err := os.Open(manifest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, lines := viewImage(t, after, 0), bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		var o map[string]any
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			t.Fatalf("manifest line %d: %v", n+1, err)
		}
		if n == 0 {
			for _, sum := range []string{fileSum(t, before), fileSum(t, after)} {
				if !strings.Contains(lines.Text(), sum) {
					t.Errorf("the manifest's header lacks the image digest %s: %s", sum, lines.Text())
				}
			}
			continue
		}
		path, _ := o["path"].(string)
		e := v[path]
		if e == nil || o["digest"] != e.Sum || o["value"] != hex.EncodeToString([]byte(e.Xattrs[imaName])) {
			t.Errorf("manifest line %d is not what the kernel shows of %q: %s", n+1, path, lines.Text())
		}
		expectNumber(t, o, "size", int(e.Size))
		expectNumber(t, o, "inode", int(e.Ino))
		delete(v, path)
	}
	for _, path := range v.regular() {
		t.Errorf("%q is not in the manifest", path)
	}
}

// forge copies a manifest with one bit of every signature changed.
func forge(t *testing.T, dir, manifest string) string {
	t.Helper()
	b, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i, line := range lines {
		_, rest, ok := strings.Cut(line, `"value":"0302`)
		if !ok {
			continue
		}
		value, _, _ := strings.Cut(rest, `"`)
		last := value[len(value)-1:]
		changed := value[:len(value)-1] + map[bool]string{true: "1", false: "0"}[last == "0"]
		lines[i] = strings.Replace(line, value, changed, 1)
	}
	path := filepath.Join(dir, "forged")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRules: what is signed, hashed and left alone is decided by path, the strongest name of a file winning.
func TestRules(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "evmctl", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image, out := mke2fs(t, dir, 32, strings.Fields(refusedArgs)...), filepath.Join(dir, "out.img")
	mounted(func(p *populator) {
		for _, name := range []string{"usr/bin/a", "var/log/b", "var/lib/c", "etc/d", "etc/passwd", "var/both", "root.txt"} {
			p.write(name, []byte(name))
		}
		p.must(os.Link(p.path("var/both"), p.path("usr/both")))
	})(t, image)
	rules := filepath.Join(dir, "rules")
	write := func(text string) {
		if err := os.WriteFile(rules, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# what a guest changes\nskip /var/**\nhash /etc/**\n\nsign /etc/passwd\nhash /var/lib/**\n")
	imagetool(t, "sign", "--key", k.private, "--rules", rules, image, "--out", out).expect(t, 0)
	fsck(t, out)
	v := viewImage(t, out, 0)
	hashed := viewHashed(t, image, dir)
	values := wantedValues(t, v)
	expectValues(t, v, func(path string) string {
		switch path {
		case "/var/log/b":
			return ""
		case "/var/lib/c", "/etc/d":
			return hashed[path].Xattrs[imaName]
		}
		return values[v[path].Sum]
	})
	write("skip /var/**\nsing /etc\n")
	r := imagetool(t, "sign", "--key", k.private, "--rules", rules, image, "--out", filepath.Join(dir, "bad.img"))
	if r.code == 0 || !strings.Contains(r.stderr, "2") || !strings.Contains(r.stderr, "sing") {
		t.Errorf("the bad line is not named:\n%v", r)
	}
}

// viewHashed is an image's view once evmctl has put a digest on every file of a copy.
func viewHashed(t *testing.T, image, dir string) view {
	t.Helper()
	copied := copyImage(t, image, filepath.Join(dir, "hashed.img"))
	root, umount := mount(t, copied, false, 0)
	defer umount()
	for _, path := range readView(t, root).regular() {
		peer(t, "evmctl", "ima_hash", "-a", "sha256", filepath.Join(root, path))
	}
	return readView(t, root)
}

// TestDropEVM: security.evm covers security.ima, so it goes only when that is asked for.
func TestDropEVM(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "evmctl", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image, out := smallImage(t, dir), filepath.Join(dir, "out.img")
	before := viewImage(t, image, 0)
	mounted(func(p *populator) {
		for _, name := range []string{"file", "attributes", "shared-1"} {
			p.set(name, "security.evm", []byte("\x02twenty bytes of hmac"))
		}
	})(t, image)
	with := viewImage(t, image, 0)
	imagetool(t, "sign", "--key", k.private, "--drop-evm", image, "--out", out).expect(t, 0)
	fsck(t, out)
	after := viewImage(t, out, 0)
	for path, e := range before { // setting it through the kernel moved ctime
		e.Ctime = with[path].Ctime
	}
	expectSigned(t, k, before, after)
}

// TestDryRun: the number of blocks that a dry run foretells is the number that a run takes, also when there are too few.
func TestDryRun(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "dumpe2fs", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	free := func(image string) int {
		return int(number(t, peer(t, "dumpe2fs", "-h", image), `(?m)^Free blocks: +(\d+)`))
	}
	foretold := func(image string) (needed, available int) {
		sum := fileSum(t, image)
		r := imagetool(t, "sign", "--json", "--dry-run", "--key", k.private, image, "--out", filepath.Join(dir, "none.img"))
		if _, err := os.Stat(filepath.Join(dir, "none.img")); err == nil || fileSum(t, image) != sum {
			t.Error("a dry run wrote something")
		}
		systems, _ := r.summary(t)["filesystems"].([]any)
		if len(systems) != 1 {
			t.Fatalf("no file system in the summary:\n%v", r)
		}
		fs := systems[0].(map[string]any)
		return int(fs["new_blocks"].(float64)), int(fs["free_blocks"].(float64))
	}
	image, out := smallImage(t, dir), filepath.Join(dir, "out.img")
	imagetool(t, "sign", "--key", k.private, image, "--out", out).expect(t, 0)
	needed, available := foretold(image)
	if took := free(image) - free(out); needed != took || available != free(image) {
		t.Errorf("foretold %d of %d blocks, took %d of %d", needed, available, took, free(image))
	}
	full := refused{spoil: mounted(fillUp)}.image(t, bed.Dir(t))
	r := imagetool(t, "sign", "--dry-run", "--key", k.private, full, "--out", filepath.Join(dir, "none.img")).expect(t, 1)
	needed, available = int(number(t, r.stderr, `need (\d+) new blocks`)), int(number(t, r.stderr, `but (\d+) are free`))
	if needed < 200 || available != free(full) || needed <= available {
		t.Errorf("foretold %d of %d blocks for 200 files and more; %d are free", needed, available, free(full))
	}
}
