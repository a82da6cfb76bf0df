package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// A partitionFile is what systemd-repart calls a definition: a file of /usr/lib/repart.d.
type partitionFile struct {
	typ  string
	mib  int // 0 for as little as possible
	more []string
}

// A repartNode is what systemd-repart says of a partition that it made.
type repartNode struct {
	Type     string
	Offset   int64
	Size     int64  `json:"raw_size"`
	RootHash string // of its hash tree
}

// repartDisk has systemd-repart make a disk of a tree, as mkosi does.
func repartDisk(t *testing.T, tree string, files []partitionFile, args ...string) (disk string, nodes []repartNode) {
	t.Helper()
	dir := bed.Dir(t)
	definitions := filepath.Join(dir, "repart.d")
	if err := os.Mkdir(definitions, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		text := "[Partition]\nType=" + f.typ + "\n" + strings.Join(f.more, "\n") + "\n"
		if f.mib > 0 {
			text += fmt.Sprintf("SizeMinBytes=%dM\nSizeMaxBytes=%[1]dM\n", f.mib)
		}
		write(t, filepath.Join(definitions, fmt.Sprintf("%02d.conf", i)), text)
	}
	disk = filepath.Join(dir, "disk.img")
	out := peer(t, "systemd-repart", append([]string{"--empty=create", "--size=auto", "--dry-run=no", "--json=short",
		"--definitions=" + definitions, "--root=" + tree}, append(args, disk)...)...)
	if err := json.Unmarshal([]byte(out), &nodes); err != nil || len(nodes) != len(files) {
		t.Fatalf("systemd-repart says %v of %d partitions:\n%s", err, len(nodes), out)
	}
	if err := os.Chown(disk, bed.Nobody, bed.Nobody); err != nil {
		t.Fatal(err)
	}
	return disk, nodes
}

// TestRepart signs disks that systemd-repart makes. What nothing can be executed from is left out, and that is no
// complaint: the second half of an A/B layout is still empty.
func TestRepart(t *testing.T) {
	bed.Need(t, "systemd-repart", "mkfs.fat", "mkswap", "sgdisk", "mke2fs", "e2fsck", "losetup", "openssl", "evmctl", "veritysetup")
	k, tree := defaultKey(t), someFiles(t)
	t.Run("layout", func(t *testing.T) {
		disk, nodes := repartDisk(t, tree, []partitionFile{
			{"esp", 33, []string{"Format=vfat"}},
			{"xbootldr", 16, []string{"Format=ext4", "CopyFiles=/bin:/"}},
			{"root", 32, []string{"Format=ext4", "CopyFiles=/"}},
			{"swap", 16, []string{"Format=swap"}},
			{"home", 16, []string{"Format=ext4", "CopyFiles=/etc:/"}},
			{"root", 32, []string{"Label=_empty"}},
		})
		out := filepath.Join(bed.Dir(t), "out.img")
		if r := imagetool(t, "sign", "--key", k.private, disk, "--out", out).expect(t, 0); r.stderr != "" {
			t.Errorf("it complains:\n%v", r)
		}
		signed := 0
		for i, n := range nodes {
			switch i {
			case 1, 2, 4:
				fsckAt(t, out, n.Offset)
				expectSigned(t, k, viewImage(t, disk, n.Offset), viewImage(t, out, n.Offset))
				signed++
			default:
				expectSame(t, "partition "+itoa(i+1), part(t, disk, n.Offset, n.Size), part(t, out, n.Offset, n.Size))
			}
		}
		if text := peer(t, "sgdisk", "--verify", out); signed != 3 || !strings.Contains(text, "No problems found") {
			t.Errorf("sgdisk says of a disk with %d signed file systems:\n%s", signed, text)
		}
		imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
	})
	for name, files := range map[string][]partitionFile{
		"root": {
			{"root", 32, []string{"Format=ext4", "CopyFiles=/", "Verity=data", "VerityMatchKey=a"}},
			{"root-verity", 8, []string{"Verity=hash", "VerityMatchKey=a"}},
			{"root-verity-sig", 0, []string{"Verity=signature", "VerityMatchKey=a"}},
		},
		"usr": {
			{"usr", 32, []string{"Format=ext4", "CopyFiles=/bin:/", "Verity=data", "VerityMatchKey=a"}},
			{"usr-verity", 8, []string{"Verity=hash", "VerityMatchKey=a"}},
			{"root", 32, []string{"Format=ext4", "CopyFiles=/etc"}},
		},
	} {
		t.Run("verity-"+name, func(t *testing.T) {
			disk, nodes := repartDisk(t, tree, files, "--private-key="+k.private, "--certificate="+k.cert)
			expectSealed(t, disk, "partition 2 has the dm-verity hash tree of partition 1, by its type "+name+"-verity", func(t *testing.T, disk string) bool {
				_, err := try("veritysetup", "verify", part(t, disk, nodes[0].Offset, nodes[0].Size), part(t, disk, nodes[1].Offset, nodes[1].Size), nodes[1].RootHash)
				return err == nil
			})
		})
	}
}
