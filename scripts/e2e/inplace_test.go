package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
	"golang.org/x/sys/unix"
)

const logSuffix = ".vmseal-undo" // of the undo log's name, behind that of the image

// memoryDir is a workDir in memory, of which there may be only so much (as in mount's size=). It is for tests
// with many runs: nothing there takes long to become durable.
func memoryDir(t *testing.T, size string) string {
	t.Helper()
	dir := bed.Dir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,uid="+itoa(bed.Nobody)+",gid="+itoa(bed.Nobody)+",size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// expectOnly: the folder holds these files, and no log and no hidden file besides.
func expectOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, name := range names {
		want[name] = true
	}
	for _, f := range found {
		if !want[f.Name()] {
			t.Errorf("left behind: %s", f.Name())
		}
		delete(want, f.Name())
	}
	for name := range want {
		t.Errorf("%s is not there", name)
	}
}

// inPlace signs an image in place, as the unprivileged user.
func inPlace(t *testing.T, k *key, image string, more ...string) result {
	t.Helper()
	return imagetool(t, append([]string{"sign", "--key", k.private, image, "--in-place"}, more...)...)
}

// proveInPlace: a copy of image that is signed in place becomes what a signed copy of it is. Signing it again changes
// nothing, and needs no log.
func proveInPlace(t *testing.T, k *key, image, signed string) {
	t.Helper()
	dir := bed.Dir(t)
	disk := copyImage(t, image, filepath.Join(dir, "in-place.img"))
	defer os.Remove(disk)
	inPlace(t, k, disk).expect(t, 0)
	expectSame(t, "an image that is signed in a copy and one that is signed in place", signed, disk)
	expectOnly(t, dir, "in-place.img")
	if err := os.Chmod(dir, 0o555); err != nil { // nothing can be made here, a log least of all
		t.Fatal(err)
	}
	before := modified(t, disk)
	inPlace(t, k, disk).expect(t, 0)
	if modified(t, disk) != before {
		t.Error("signing in place once more wrote to the image")
	}
	expectOnly(t, dir, "in-place.img")
}

func modified(t *testing.T, path string) unix.Timespec {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Mtim
}

// TestInPlaceOptions: what else sign can be told to do, it does in place as in a copy.
func TestInPlaceOptions(t *testing.T) {
	bed.Need(t, "mke2fs", "losetup", "e2fsck", "openssl")
	dir, k := bed.Dir(t), defaultKey(t)
	image, last := smallImage(t, dir), filepath.Join(dir, "last")
	imagetool(t, "sign", "--key", k.private, image, "--out", filepath.Join(dir, "last.img"), "--manifest", last).expect(t, 0)
	rules := filepath.Join(dir, "rules")
	if err := os.WriteFile(rules, []byte("hash /**\nsign /file\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]string{
		"manifest":  "--manifest MANIFEST",
		"reuse":     "--manifest MANIFEST --reuse " + last,
		"rules":     "--manifest MANIFEST --rules " + rules,
		"sha512":    "--hash sha512 --jobs 1",
		"all":       "--json --partition 0 --rules " + rules + " --reuse " + last + " --manifest MANIFEST",
		"other-key": "--key " + testKey(t, "other", 2048).private,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := bed.Dir(t)
			disk, out := copyImage(t, image, filepath.Join(dir, "disk.img")), filepath.Join(dir, "out.img")
			with := func(manifest string) []string {
				return strings.Fields(strings.ReplaceAll(options, "MANIFEST", filepath.Join(dir, manifest)))
			}
			imagetool(t, append([]string{"sign", "--key", k.private, disk, "--out", out}, with("m1")...)...).expect(t, 0)
			r := inPlace(t, k, disk, with("m2")...).expect(t, 0)
			expectSame(t, "copy and in place", out, disk)
			fsck(t, disk)
			files := []string{"disk.img", "out.img"}
			if strings.Contains(options, "MANIFEST") {
				expectSame(t, "the manifests", filepath.Join(dir, "m1"), filepath.Join(dir, "m2"))
				files = append(files, "m1", "m2")
			}
			if name == "all" {
				expectNumber(t, r.summary(t), "signatures", 0)
			}
			expectOnly(t, dir, files...)
		})
	}
	t.Run("dry-run", func(t *testing.T) {
		dir := bed.Dir(t)
		disk := copyImage(t, image, filepath.Join(dir, "disk.img"))
		sum := fileSum(t, disk)
		told, wants := inPlace(t, k, disk, "--dry-run", "--json").expect(t, 0).summary(t), imagetool(t, "sign", "--json", "--dry-run", "--key", k.private, disk).summary(t)
		for _, field := range []string{"signed", "signatures", "files"} {
			if told[field] != wants[field] {
				t.Errorf("%s: %v in place, %v without", field, told[field], wants[field])
			}
		}
		if fileSum(t, disk) != sum {
			t.Error("a dry run changed the image")
		}
		expectOnly(t, dir, "disk.img")
	})
	t.Run("both", func(t *testing.T) { inPlace(t, k, image, "--out", filepath.Join(dir, "x")).expect(t, 2) })
}
