package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestBigBlocks signs file systems whose blocks are larger than this machine's pages. The kernel cannot mount them
// here: mke2fs -d fills them from a folder, and debugfs and e2fsck are the judges.
func TestBigBlocks(t *testing.T) {
	bed.Need(t, "mke2fs", "e2fsck", "debugfs", "evmctl", "openssl", "setfacl", "setcap", "chattr")
	source := bed.Dir(t)
	populate(t, source, 4096, true)
	peer(t, "chattr", "-i", filepath.Join(source, "special/immutable")) // mke2fs does not copy it, and it stays in the way
	want := readView(t, source)
	values := wantedValues(t, want)
	t.Run("all", func(t *testing.T) { // holds the folder until the parallel tests are done
		for _, size := range []int{8192, 16384, 32768, 65536} {
			for name, args := range map[string][]string{
				"checksums": {"-O", "metadata_csum,64bit"},
				"bare":      {"-O", "^metadata_csum,^64bit,uninit_bg"},
				"clusters":  {"-O", "metadata_csum,64bit,bigalloc", "-C", itoa(2 * size)},
			} {
				t.Run(itoa(size)+"-"+name, func(t *testing.T) {
					t.Parallel()
					dir := bed.Dir(t)
					image := mke2fs(t, dir, 512, append(args, "-t", "ext4", "-I", "256", "-b", itoa(size), "-N", "4000", "-d", source)...)
					fsck(t, image)
					before := readDebugfs(t, dir, image, want)
					before.expect(t, want, before, func(path string) string { return want[path].Xattrs[imaName] })
					after := readDebugfs(t, dir, proveSigned(t, dir, image), want)
					after.expect(t, want, before, func(path string) string { return values[want[path].Sum] })
					expectContents(t, image, want)
				})
			}
		}
	})
}

func wantedValues(t *testing.T, v view) map[string]string {
	t.Helper()
	digests := map[string]bool{}
	for _, path := range v.regular() {
		digests[v[path].Sum] = true
	}
	return evmctlValues(t, defaultKey(t), "sha256", digests)
}

// debugfsView is what debugfs shows of the regular files, by path.
type debugfsView map[string]debugfsEntry

type debugfsEntry struct {
	sum    string
	xattrs map[string]string
}

// readDebugfs reads an image with debugfs, asking for the attributes that the wanted view names and security.ima.
func readDebugfs(t *testing.T, scratch, image string, want view) debugfsView {
	t.Helper()
	inodes := debugfsInodes(t, image)
	dir, err := os.MkdirTemp(scratch, "debugfs-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)

	var commands []string
	asked := map[string]bool{} // inode numbers
	for _, path := range want.regular() {
		ino := inodes[path]
		if ino == "" || asked[ino] {
			continue
		}
		asked[ino] = true
		commands = append(commands, fmt.Sprintf("dump <%s> %s/%s", ino, dir, ino))
		for i, name := range attrNames(want[path]) {
			if strings.ContainsFunc(name, func(r rune) bool { return r > 126 }) {
				continue // debugfs cannot be asked for such a name
			}
			commands = append(commands, fmt.Sprintf("ea_get -f %s/%s.%d <%s> %s", dir, ino, i, ino, name))
		}
	}
	runDebugfs(t, image, commands)

	v := debugfsView{}
	for _, path := range want.regular() {
		ino := inodes[path]
		if ino == "" {
			continue
		}
		e := debugfsEntry{sum: fileSum(t, filepath.Join(dir, ino)), xattrs: map[string]string{}}
		for i, name := range attrNames(want[path]) {
			if value, err := os.ReadFile(fmt.Sprintf("%s/%s.%d", dir, ino, i)); err == nil {
				e.xattrs[name] = string(value)
			}
		}
		v[path] = e
	}
	return v
}

// attrNames are the attributes to ask for, security.ima always.
func attrNames(e *entry) []string {
	names := []string{imaName}
	for name := range e.Xattrs {
		if name != imaName {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// runDebugfs runs commands some of which may fail: an attribute that is not there is for the caller to judge.
func runDebugfs(t *testing.T, image string, commands []string) string {
	t.Helper()
	cmd := exec.Command("debugfs", "-f", "-", image)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("debugfs: %v", err)
	}
	return out.String()
}

// debugfsInodes lists an image's names with their inode numbers. ls -p prints /inode/mode/uid/gid/name/size/ and a
// line's end for each: names hold any byte but the slash, so slashes cut it exactly.
func debugfsInodes(t *testing.T, image string) map[string]string {
	t.Helper()
	inodes := map[string]string{}
	type folder struct{ path, ino string }
	for todo := []folder{{"", "2"}}; len(todo) > 0; todo = todo[1:] {
		out := runDebugfs(t, image, []string{"ls -p -r <" + todo[0].ino + ">"})
		_, out, _ = strings.Cut(out, "\n") // the echoed command
		fields := strings.Split(out, "/")
		for i := 1; i+6 < len(fields); i += 7 {
			ino, mode, name := fields[i], fields[i+1], fields[i+4]
			if name == "." || name == ".." {
				continue
			}
			path := todo[0].path + "/" + name
			inodes[path] = ino
			if strings.HasPrefix(mode, "04") {
				todo = append(todo, folder{path, ino})
			}
		}
	}
	return inodes
}

// expect compares contents with the wanted view, security.ima with the given values, and the other attributes with
// what debugfs read before (it shows ACLs in a form of its own, so not with the view).
func (v debugfsView) expect(t *testing.T, want view, before debugfsView, ima func(path string) string) {
	t.Helper()
	for _, path := range want.regular() {
		got, ok := v[path]
		if !ok {
			t.Errorf("%q: debugfs does not list it", path)
			continue
		}
		if got.sum != want[path].Sum {
			t.Errorf("%q: debugfs reads contents of SHA-256 %s, want %s", path, got.sum, want[path].Sum)
		}
		if got.xattrs[imaName] != ima(path) {
			t.Errorf("%q: security.ima\n got %x\nwant %x", path, got.xattrs[imaName], ima(path))
		}
		for name := range want[path].Xattrs {
			had, ok := before[path].xattrs[name]
			if value, still := got.xattrs[name]; name != imaName && (value != had || still != ok) {
				t.Errorf("%q: attribute %q is %x (present: %v), was %x (%v)", path, name, value, still, had, ok)
			}
		}
	}
}
