package ext4

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var hashNames = []string{hashLegacy: "legacy", hashHalfMD4: "half_md4", hashTEA: "tea"}

// TestDirHash compares hashes with those that debugfs computes.
func TestDirHash(t *testing.T) {
	const seed = "12345678-9abc-4ef0-8123-456789abcdef"
	img := filepath.Join(t.TempDir(), "fs.img")
	execute(t, "mke2fs", "-q", "-F", "-t", "ext2", "-E", "hash_seed="+seed, img, "1M")
	_, fs, err := openImage(t, img)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"a", "lost+found", "abcdefghijklmnop", "Gr\xc3\xb6\xc3\x9fe", strings.Repeat("x", 31), strings.Repeat("y", 32), strings.Repeat("z", 33), strings.Repeat("\xff\x80w", 85)}
	for i := range 50 {
		names = append(names, fmt.Sprintf("%s-%d", strings.Repeat("n", 5*i+1), i))
	}
	for version, kind := range hashNames {
		for _, seeded := range []bool{false, true} {
			h := fs.sb.newDirHash(byte(version))
			args := []string{"-s", seed}
			if !seeded {
				h.seed, args = defaultSeed, nil
			}
			for _, name := range names {
				request := fmt.Sprintf("dx_hash -h %s %s \"%s\"", kind, strings.Join(args, " "), name)
				out, err := exec.Command(need(t, "debugfs"), "-R", request, img).Output()
				if err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf("is 0x%x (", h.of(name)); !strings.Contains(string(out), want) {
					t.Errorf("%s, seeded %t: debugfs prints %q, expected it to say %q", kind, seeded, out, want)
				}
			}
		}
	}
}

// TestHashSign has e2fsck sort directories with signed and unsigned characters,
// by each hash, and asks whether every name lies where it belongs.
func TestHashSign(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		name := strings.Repeat(string([]byte{byte(i), 0x80 | byte(i)%0x7f, 'x', 0xff}), 30)
		if err := os.WriteFile(filepath.Join(dir, strings.Map(letter, fmt.Sprint(i))+strings.ReplaceAll(strings.ReplaceAll(name, "/", "-"), "\x00", "-")), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for version, kind := range hashNames {
		img := makeImage(t, dir, "4M", "-t", "ext4", "-b", "1024", "-O", "^has_journal,^metadata_csum", "-N", "1024")
		for flags := 1; flags <= 2; flags++ {
			debugfs(t, img, "set_super_value def_hash_version "+kind)
			debugfs(t, img, fmt.Sprintf("set_super_value flags %d", flags))
			if out, err := exec.Command(need(t, "e2fsck"), "-fyD", img).CombinedOutput(); !strings.Contains(string(out), "MODIFIED") {
				t.Fatalf("e2fsck -fyD: %v\n%s", err, out)
			}
			fsck(t, img)
			b, err := os.ReadFile(img)
			if err != nil {
				t.Fatal(err)
			}
			m := memory(b)
			fs, _ := mustCheck(t, m)
			if root := m[blockOf(t, fs, lookup(t, fs, "/"), 0)*fs.sb.blockSize:]; int(root[dxRootInfo+dxOffVersion])%hashVersions != version {
				t.Fatalf("e2fsck took hash version %d instead of %d", root[dxRootInfo+dxOffVersion], version)
			}
			patch(m, func(sb []byte) { le.PutUint32(sb[sbFlags:], uint32(3-flags)) })
			refusedFor(t, m, "does not lead here")
		}
	}
}

func letter(r rune) rune { return r - '0' + 'a' }
