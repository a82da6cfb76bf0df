package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

// TestDiff: what imagetool diff finds is what two views of the kernel differ in, name by name and field by field.
func TestDiff(t *testing.T) {
	bed.Need(t, "mke2fs", "e2fsck", "losetup", "evmctl", "openssl", "setfacl", "setcap", "chattr")
	dir, k := bed.Dir(t), defaultKey(t)
	image, _ := variants[0].make(t, dir)
	old, fresh := filepath.Join(dir, "old.img"), filepath.Join(dir, "new.img")
	imagetool(t, "sign", "--key", k.private, image, "--out", old).expect(t, 0)
	imagetool(t, "diff", old, old).expect(t, 0)
	copyImage(t, old, fresh)
	mounted(changeEverything)(t, fresh)
	fsck(t, fresh)

	before, after := viewImage(t, old, 0), viewImage(t, fresh, 0)
	want := differences(before, after)
	for _, field := range []string{"type", "content", "target", "device", "label", "key", "mode", "owner", "links", "attributes", "added", "removed"} {
		if !slices.ContainsFunc(sortedKeys(want), func(path string) bool { return slices.Contains(want[path], field) }) {
			t.Errorf("nothing in the test changes %s", field)
		}
	}
	expectDifferences(t, imagetool(t, "diff", "--json", old, fresh).expect(t, 3), want)
	expectDifferences(t, imagetool(t, "diff", "--json", fresh, old).expect(t, 3), differences(after, before))
	expectDifferences(t, imagetool(t, "diff", "--json", "--trust", k.cert, "--jobs", "1", old, fresh).expect(t, 3), want)

	// Text has a line for each, and what verify finds of the new ones.
	r := imagetool(t, "diff", "--trust", k.cert, old, fresh).expect(t, 3)
	if got := strings.Count(r.stdout, "\n"); got != len(want)+1 {
		t.Errorf("%d lines for %d differences", got, len(want))
	}
	for _, line := range []string{
		"changed  /sizes/100: content under the same label; was valid, key ", "; is invalid, content-changed: label was made for other contents\n",
		"added    /names-too/new%0Aline: is unsigned\n", "added    /names-too/%01%7F: is unsigned\n", "added    /names-too/invalid %FF%FE utf-8: is unsigned\n",
		"changed  /links/fast: target file to else%1B[31m", "changed  /special/char: device 259:70000 to 1:3\n",
		"changed  /special/setuid: mode -rwsr-xr-x to -rwxr-xr-x; still valid, key ", "changed  /attrs/caps: attributes security.capability; still valid, key ",
		"removed  /big/", "added    /moved/", "changed  /sizes/400: type regular file to directory; was valid, ",
	} {
		if !strings.Contains(r.stdout, line) {
			t.Errorf("no %q in\n%s", line, bed.Clip(r.stdout))
		}
	}
}

// changeEverything changes names, contents, labels and all that a name stands for.
func changeEverything(p *populator) {
	for _, name := range awkwardNames {
		p.write("names-too/"+name, []byte(name))
	}
	p.must(os.Rename(p.path("big"), p.path("moved")))
	p.must(os.Remove(p.path("links/hard-0")))
	p.must(os.Link(p.path("holes/end"), p.path("holes/end-too")))

	// Contents: of the same size and time, and what labels say stays the same.
	var st unix.Stat_t
	p.must(unix.Stat(p.path("sizes/100"), &st))
	p.must(os.WriteFile(p.path("sizes/100"), p.bytes(100), 0o644))
	p.must(unix.UtimesNanoAt(unix.AT_FDCWD, p.path("sizes/100"), []unix.Timespec{st.Atim, st.Mtim}, 0))
	p.must(os.Truncate(p.path("sizes/0"), 1))
	p.at("holes/only", 10*p.bs+7, 3*p.bs) // a hole gets data
	p.write("sizes/4096", p.bytes(4096))
	p.evmctl("sizes/4096", "key", "ima_sign")

	p.must(unix.Lremovexattr(p.path("sizes/1"), imaName))
	p.swap("sizes/59", "sizes/60")
	p.evmctl("sizes/61", "other", "ima_sign")
	p.set("sizes/200", imaName, nil)

	p.must(os.Remove(p.path("sizes/400")))
	p.must(os.Mkdir(p.path("sizes/400"), 0o755))
	p.write("sizes/400/below", []byte("below"))
	p.must(os.Remove(p.path("links/fast")))
	p.must(os.Symlink("else\x1b[31m", p.path("links/fast")))
	for name, mode := range map[string]uint32{"char": unix.S_IFCHR, "block": unix.S_IFBLK} {
		p.must(os.Remove(p.path("special/" + name)))
		p.must(unix.Mknod(p.path("special/"+name), mode|0o640, int(unix.Mkdev(1, 3))))
	}
	p.must(errors.Join(unix.Chmod(p.path("special/setuid"), 0o755), unix.Chmod(p.path("names"), 0o700)))
	p.must(errors.Join(os.Lchown(p.path("special/none"), 5, 1<<31+5), os.Lchown(p.path("links/slow"), 5, 6)))
	p.must(unix.Lremovexattr(p.path("attrs/caps"), "security.capability"))
	p.set("attrs/user", "user.comment", []byte("hallo"))
	p.set("attrs/acl", "user.n\xffw", []byte("new"))
	p.set("holes", "user.dir", []byte("d"))
	p.must(os.Chtimes(p.path("sizes/127"), time.Unix(5, 0), time.Unix(6, 7))) // times are no difference
}

// differences compares what the kernel shows of two images: by path, the fields that differ, or "added" or "removed".
func differences(before, after view) map[string][]string {
	diff := map[string][]string{}
	for path, a := range after {
		if b := before[path]; b == nil {
			diff[path] = []string{"added"}
		} else if fields := fieldsOf(b, a); len(fields) > 0 {
			diff[path] = fields
		}
	}
	for path := range before {
		if after[path] == nil {
			diff[path] = []string{"removed"}
		}
	}
	return diff
}

func fieldsOf(b, a *entry) (fields []string) {
	if b.Mode&unix.S_IFMT != a.Mode&unix.S_IFMT {
		return []string{"type"}
	}
	bIMA, bOK := b.Xattrs[imaName]
	aIMA, aOK := a.Xattrs[imaName]
	isSignature := func(v string) bool { return strings.HasPrefix(v, "\x03\x02") }
	for field, differs := range map[string]bool{
		"content": b.Sum != a.Sum, "target": b.Target != a.Target, "device": b.Rdev != a.Rdev,
		"label": bIMA != aIMA || bOK != aOK, "key": isSignature(bIMA) && isSignature(aIMA) && bIMA[3:7] != aIMA[3:7],
		"mode": b.Mode != a.Mode, "owner": b.UID != a.UID || b.GID != a.GID,
		"links": b.regular() && b.Nlink != a.Nlink, "attributes": !reflect.DeepEqual(othersOf(b), othersOf(a)),
	} {
		if differs {
			fields = append(fields, field)
		}
	}
	sort.Strings(fields)
	return fields
}

func othersOf(e *entry) map[string]string {
	others := map[string]string{}
	for name, value := range e.Xattrs {
		if name != imaName {
			others[name] = value
		}
	}
	return others
}

func expectDifferences(t *testing.T, r result, want map[string][]string) {
	t.Helper()
	got := map[string][]string{}
	for _, o := range jsonLines(t, r.stdout) {
		if o["type"] != "difference" {
			continue
		}
		path, _ := o["path"].(string)
		got[path] = []string{o["kind"].(string)}
		if fields, ok := o["fields"].([]any); ok {
			got[path] = nil
			for _, f := range fields {
				got[path] = append(got[path], f.(string))
			}
			sort.Strings(got[path])
		}
	}
	c := &complaints{t: t}
	defer c.close()
	for path, fields := range want {
		if name := escaped(path); !slices.Equal(got[name], fields) {
			c.add("%q: found %q, the kernel shows %q", path, got[name], fields)
		}
		delete(got, escaped(path))
	}
	for path, fields := range got {
		c.add("%q: found %q, the kernel shows no difference", path, fields)
	}
}
