package e2e

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

const verityContents = 200_001

// verityFile writes /verity as ext4 keeps an fs-verity file: behind the contents, from the next 64 KiB on, the Merkle
// tree, then the descriptor, and the descriptor's size in the last bytes of the last block (fs/ext4/verity.c). Made
// by hand, because the kernel that runs the tests may lack fs-verity. It returns the digest of the contents.
func verityFile(t *testing.T, root string, bs int64) string {
	t.Helper()
	bed.Need(t, "fsverity")
	p := &populator{t: t, root: root, bs: bs, rnd: newRand(7)}
	p.write("verity", p.bytes(verityContents))
	sum := fileSum(t, p.path("verity"))
	dir := bed.Dir(t)
	tree, descriptor := filepath.Join(dir, "tree"), filepath.Join(dir, "descriptor")
	peer(t, "fsverity", "digest", "--block-size="+itoa(int(bs)), "--out-merkle-tree="+tree, "--out-descriptor="+descriptor, p.path("verity"))

	f, err := os.OpenFile(p.path("verity"), os.O_RDWR, 0)
	p.must(err)
	defer f.Close()
	treeBytes, err := os.ReadFile(tree)
	p.must(err)
	descriptorBytes, err := os.ReadFile(descriptor)
	p.must(err)
	at := roundUp(verityContents, 64<<10)
	_, err = f.WriteAt(treeBytes, at)
	p.must(err)
	at = roundUp(at+int64(len(treeBytes)), bs)
	_, err = f.WriteAt(descriptorBytes, at)
	p.must(err)
	end := roundUp(at+int64(len(descriptorBytes))+4, bs)
	_, err = f.WriteAt(binary.LittleEndian.AppendUint32(nil, uint32(len(descriptorBytes))), end-4)
	p.must(err)
	return sum
}

// sealVerity gives the file its real size back and flags it (EXT4_VERITY_FL beside EXT4_EXTENTS_FL).
func sealVerity(t *testing.T, image string) {
	t.Helper()
	debugfs(t, image, true, "set_inode_field /verity size "+itoa(verityContents), "set_inode_field /verity flags 0x180000")
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
