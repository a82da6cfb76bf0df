package seals

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

func device(t *testing.T, path string) block.Device {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	return hostfile.Device(f, size)
}

// random makes a file that differs from block to block.
func random(t *testing.T, blocks int) string {
	t.Helper()
	b := make([]byte, blocks*4096)
	for i := range b {
		b[i] = byte(i * (i/4096 + 1) >> 3)
	}
	path := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCovers: a hash tree of veritysetup covers its data, and no longer so when a byte
// among the first changes.
func TestCovers(t *testing.T) {
	for name, c := range map[string]struct {
		blocks int
		args   []string
	}{
		"one level":         {100, nil},
		"two levels":        {200, nil},
		"three levels":      {300, []string{"--hash-block-size=512", "--data-block-size=4096"}},
		"small data blocks": {200, []string{"--data-block-size=512"}},
		"sha1":              {200, []string{"--hash=sha1"}},
		"sha512":            {200, []string{"--hash=sha512"}},
		"no salt":           {200, []string{"--salt=-"}},
		"chrome os":         {200, []string{"--format=0"}},
		"chrome os, sha1":   {300, []string{"--format=0", "--hash=sha1"}},
	} {
		t.Run(name, func(t *testing.T) {
			data, tree := random(t, c.blocks), disktest.Sparse(t, disktest.MiB)
			disktest.Run(t, "", "veritysetup", append(append([]string{"format"}, c.args...), data, tree)...)
			s, err := readSuperblock(device(t, tree), 0)
			if err != nil || s == nil {
				t.Fatalf("no superblock, %v", err)
			}
			expect := func(want bool) {
				t.Helper()
				if got, err := s.covers(device(t, tree), device(t, data)); err != nil || got != want {
					t.Errorf("covers: %v, %v, want %v", got, err, want)
				}
			}
			expect(true)
			disktest.Poke(t, data, 4096, []byte("changed"))
			expect(false)
			if err := os.Truncate(data, 4096); err != nil {
				t.Fatal(err)
			}
			expect(false)
		})
	}
}

// TestSuperblocks finds them at any sector, and in no hole.
func TestSuperblocks(t *testing.T) {
	data, path := random(t, 10), disktest.Sparse(t, 4*disktest.MiB)
	tree := disktest.Sparse(t, disktest.MiB)
	disktest.Run(t, "", "veritysetup", "format", data, tree)
	super := disktest.Peek(t, tree, 0, superblockSize)
	for _, at := range []int64{0, 512, 1<<20 - 512, 1 << 20, 3<<20 + 100, 4<<20 - 512} {
		disktest.Poke(t, path, at, super)
	}
	var found []int64
	err := superblocks(t.Context(), device(t, path), 500, func(s *superblock) error {
		found = append(found, s.at)
		return nil
	})
	want := []int64{512, 1<<20 - 512, 1 << 20, 4<<20 - 512}
	if err != nil || len(found) != len(want) {
		t.Fatalf("found %v, %v, want %v", found, err, want)
	}
	for i := range want {
		if found[i] != want[i] {
			t.Errorf("found %v, want %v", found, want)
		}
	}
}

func TestParseSuperblock(t *testing.T) {
	tree := disktest.Sparse(t, disktest.MiB)
	disktest.Run(t, "", "veritysetup", "format", random(t, 10), tree)
	good := disktest.Peek(t, tree, 0, superblockSize)
	if parseSuperblock(good, 0) == nil {
		t.Fatal("a superblock of veritysetup is none")
	}
	for at, b := range map[int]byte{0: 'V', 8: 2, 12: 2, 65: 1, 68: 1, 81: 2} {
		bad := append([]byte{}, good...)
		bad[at] = b
		if parseSuperblock(bad, 0) != nil {
			t.Errorf("byte %d is %d: it passes", at, b)
		}
	}
	if parseSuperblock(good[:100], 0) != nil {
		t.Error("half a superblock passes")
	}
}

func TestIsBare(t *testing.T) {
	for text, want := range map[string]bool{
		"[core]\nrepo_version=1\nmode=bare\n":             true,
		"[core]\nrepo_version = 1\nmode = bare\n":         true,
		"[core]\nrepo_version=1\n":                        true, // the default
		"[core]\nrepo_version=1\nmode=bare-user\n":        false,
		"[core]\nrepo_version=1\nmode=bare-user-only\n":   false,
		"[core]\nrepo_version=1\nmode=archive-z2\n":       false,
		"[core]\n#repo_version=1\nmode=bare\n":            false,
		"[core]\nrepositoryformatversion = 0\nbare=true":  false,
		"[other]\nrepo_version=1\nmode=bare\n":            false,
		"[remote]\nmode=bare\n[core]\nrepo_version=1\n":   true,
		"[ex-integrity]\nfsverity=yes\n[core]\nmode=bare": false,
		"": false,
	} {
		if got := isBare([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestHasFooter(t *testing.T) {
	path := disktest.Sparse(t, disktest.MiB)
	expect := func(what string, want bool) {
		t.Helper()
		if got, err := hasFooter(device(t, path)); err != nil || got != want {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	expect("zeros", false)
	disktest.Poke(t, path, -64, []byte("AVBf\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00"))
	expect("a footer", true)
	disktest.Poke(t, path, -64+7, []byte{2})
	expect("a later version", false)
	disktest.Poke(t, path, -64+7, []byte{1})
	disktest.Poke(t, path, -64+12, []byte{1})
	expect("an image that was larger", false)
}

// TestComposefsStore: the folder that a composefs image covers.
func TestComposefsStore(t *testing.T) {
	for image, want := range map[string]string{
		"/a.cfs":                                       "/",
		"/srv/images/a.cfs":                            "/srv/images/",
		"/composefs/objects/ab/cdef":                   "/composefs/",
		"/sysroot/composefs/objects/ab/cdef":           "/sysroot/composefs/",
		"/ostree/deploy/os/deploy/0.0/.ostree.cfs":     "/ostree/",
		"/var/lib/containers/overlay/x/composefs.blob": "/var/lib/containers/overlay/x/",
	} {
		if s := composefs("1", image); s.below != want {
			t.Errorf("%s: %s, want %s", image, s.below, want)
		}
	}
}

// TestBroken: only a file that a seal covers breaks it.
func TestBroken(t *testing.T) {
	all := []Seal{
		{Kind: Verity, Partition: "2", Over: []volume.ID{"1"}},
		repository("1", "/ostree/repo"),
		{Kind: AVB, Partition: "3", Over: []volume.ID{"3"}},
	}
	changed := func(partition volume.ID, paths ...string) func(func(volume.ID, []string) bool) {
		return func(yield func(volume.ID, []string) bool) { yield(partition, paths) }
	}
	for _, test := range []struct {
		partition volume.ID
		paths     []string
		want      int
	}{
		{"1", []string{"/etc/passwd"}, 1},
		{"1", []string{"/deploy/tool", "/ostree/repo/objects/ab/cd.file"}, 2},
		{"1", []string{"/ostree/repo/objects/ab/cd.dirtree"}, 1},
		{"3", []string{"/ostree/repo/objects/ab/cd.file"}, 1},
		{"4", []string{"/etc/passwd"}, 0},
	} {
		if got := Broken(all, changed(test.partition, test.paths...)); len(got) != test.want {
			t.Errorf("%s %v breaks %v", test.partition, test.paths, got)
		}
	}
}
