package e2e

import (
	"bytes"
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestBeds looks at the test images with debugfs and dumpe2fs: each must contain what it was made for, or a proof over
// it proves nothing. None of our commands runs.
func TestBeds(t *testing.T) {
	bed.Need(t, "mke2fs", "tune2fs", "e2fsck", "debugfs", "dumpe2fs", "losetup", "evmctl", "setfacl", "setcap", "chattr")
	checks := map[string]func(t *testing.T, image string){
		"ext4": func(t *testing.T, image string) {
			show(t, image, "dump_extents -n /extents/deep", `(?m)^ 1/ 2`)
			show(t, image, "dump_extents /unwritten/middle", `Uninit`)
			expectStale(t, image, "/unwritten/middle")
			expectShared(t, image, "/shared/value-1")
			show(t, image, "stat /unwritten/behind", `Size: 8193`)
		},
		"1k-blocks":         func(t *testing.T, image string) { show(t, image, "htree_dump /big", `Indirect levels: 1`) },
		"inode-128":         func(t *testing.T, image string) { expectShared(t, image, "/shared/acl-1") },
		"ext3":              func(t *testing.T, image string) { show(t, image, "stat /indirect", `\(DIND\):`) },
		"ext2-inode-128-1k": func(t *testing.T, image string) { show(t, image, "stat /indirect", `\(TIND\):`) },
		"inline-data":       func(t *testing.T, image string) { show(t, image, "stat /sizes/100", `Flags: 0x10000000`) },
		"verity":            func(t *testing.T, image string) { show(t, image, "stat /verity", `Flags: 0x180000`) },
		"orphan-file":       func(t *testing.T, image string) { header(t, image, `orphan_file`) },
		"no-ext-attr":       func(t *testing.T, image string) { header(t, image, `features:.*has_journal resize_inode`) },
		"many-groups": func(t *testing.T, image string) {
			if n := strings.Count(peer(t, "dumpe2fs", image), "BLOCK_UNINIT"); n < 4 {
				t.Errorf("%d groups with BLOCK_UNINIT, want at least 4", n)
			}
		},
	}
	for _, v := range variants {
		if checks[v.name] == nil {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			image, _ := v.make(t, bed.Dir(t))
			fsck(t, image)
			checks[v.name](t, image)
		})
	}
}

func show(t *testing.T, image, command, want string) {
	t.Helper()
	if out := debugfs(t, image, false, command); !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("debugfs %s shows no %q:\n%s", command, want, bed.Clip(out))
	}
}

func header(t *testing.T, image, want string) {
	t.Helper()
	if out := peer(t, "dumpe2fs", "-h", image); !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("dumpe2fs -h shows no %q:\n%s", want, bed.Clip(out))
	}
}

// readBlock reads one block of 4096 bytes.
func readBlock(t *testing.T, image string, block int64) []byte {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 4096)
	if _, err := f.ReadAt(b, block*4096); err != nil {
		t.Fatal(err)
	}
	return b
}

// number finds the first group of a pattern in what debugfs says, as a number.
func number(t *testing.T, out, pattern string) int64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no %q in:\n%s", pattern, bed.Clip(out))
	}
	n, err := strconv.ParseInt(m[1], 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// expectStale: what lies on the disk under an unwritten extent is not zeros.
func expectStale(t *testing.T, image, path string) {
	t.Helper()
	out := debugfs(t, image, false, "dump_extents "+path)
	block := number(t, out, `(?m)(\d+) - *\d+ +\d+ Uninit`)
	if bytes.Count(readBlock(t, image, block), []byte{0}) == 4096 {
		t.Errorf("%s: the unwritten block %d holds zeros, so reading it would not show", path, block)
	}
}

// expectShared: the file's attribute block belongs to others too (h_refcount).
func expectShared(t *testing.T, image, path string) {
	t.Helper()
	block := number(t, debugfs(t, image, false, "stat "+path), `File ACL: (\d+)`)
	if n := binary.LittleEndian.Uint32(readBlock(t, image, block)[4:]); block == 0 || n < 2 {
		t.Errorf("%s: attribute block %d has h_refcount %d, want at least 2", path, block, n)
	}
}
