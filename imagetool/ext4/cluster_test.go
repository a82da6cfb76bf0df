package ext4

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// clusterImage has clusters of four blocks. /holes has two extents in its first
// cluster and one in its third; each of the others has one cluster.
func clusterImage(t testing.TB) memory {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range []int64{0, 2, 9} {
		if _, err := f.WriteAt(pattern(1024, int64(i)), block*1024); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Close(),
		os.WriteFile(filepath.Join(dir, "one"), pattern(1024, 7), 0o644),
		os.WriteFile(filepath.Join(dir, "other"), pattern(1024, 8), 0o644)); err != nil {
		t.Fatal(err)
	}
	value := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(value, pattern(300, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	img := makeImage(t, dir, "4M", "-t", "ext4", "-b", "1024", "-C", "4096", "-O", "bigalloc,^resize_inode,^has_journal", "-N", "64")
	debugfs(t, img, "ea_set -f "+value+" /other user.large")
	fsck(t, img)
	m, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// extentOf is extent i in an inode.
func extentOf(raw []byte, i int) []byte { return raw[inBlock+exEntrySize*(i+1):][:exEntrySize] }

// moveExtent points extent i of a file to another place.
func moveExtent(t *testing.T, m memory, fs *FS, path string, i int, to uint64) {
	t.Helper()
	editInode(t, m, fs, lookup(t, fs, path), func(raw []byte) {
		le.PutUint32(extentOf(raw, i)[exOffStartLo:], uint32(to))
	})
}

// TestClusterRules breaks the rules of clusters while every checksum is right.
func TestClusterRules(t *testing.T) {
	whole := clusterImage(t)
	fs, l := mustCheck(t, whole)
	sb := fs.sb
	holes, one, other := lookup(t, fs, "/holes"), lookup(t, fs, "/one"), lookup(t, fs, "/other")
	if sb.clusterBits != 2 || holes.units != 2*8 || one.units != 8 || other.units != 2*8 {
		t.Fatalf("clusters of %d blocks, i_blocks %d, %d, %d", sb.clusterBlocks(), holes.units, one.units, other.units)
	}
	if a, b := blockOf(t, fs, holes, 0), blockOf(t, fs, holes, 2); b != a+2 {
		t.Fatalf("blocks 0 and 2 lie at %d and %d", a, b)
	}
	data := blockOf(t, fs, one, 0)
	free := sb.clusterStart(sb.clusterOf(sb.blocks-1) - 1)
	if err := l.used.mark(free, 4); err != nil {
		t.Fatalf("the last but one cluster: %v", err)
	}
	for _, c := range []struct {
		name, want string
		edit       func(m memory)
	}{
		{"cluster of two files", "has two owners", func(m memory) {
			moveExtent(t, m, fs, "/holes", 1, data+2) // no block has two owners
			editInode(t, m, fs, holes, func(raw []byte) {
				le.PutUint32(extentOf(raw, 1), 6)
				le.PutUint32(raw[inBlocksLo:], 3*8)
			})
		}},
		{"not at its place", "not at its place in a cluster", func(m memory) { moveExtent(t, m, fs, "/one", 0, data+1) }},
		{"two clusters for one", "in another cluster than those before it", func(m memory) { moveExtent(t, m, fs, "/holes", 1, free+2) }},
		{"one cluster for two", "has two owners", func(m memory) {
			moveExtent(t, m, fs, "/holes", 2, blockOf(t, fs, holes, 0)+1)
		}},
		{"attributes in a cluster of data", "has two owners", func(m memory) {
			to := data + 1
			raw := m[to*sb.blockSize:][:sb.blockSize]
			copy(raw, m[other.acl*sb.blockSize:][:sb.blockSize])
			fs.setRefs(to, raw, 1)
			editInode(t, m, fs, other, func(raw []byte) { le.PutUint32(raw[inFileACLLo:], uint32(to)) })
		}},
		{"data in a cluster of metadata", "has two owners", func(m memory) {
			table := fs.groups[0].inodeTable + sb.itableBlocks() - 1
			to := sb.clusterStart(sb.clusterOf(table)) + 3
			if to == table {
				t.Fatal("the inode table fills its last cluster")
			}
			editInode(t, m, fs, one, func(raw []byte) {
				le.PutUint32(extentOf(raw, 0), 3)
				le.PutUint32(extentOf(raw, 0)[exOffStartLo:], uint32(to))
				le.PutUint32(raw[inSizeLo:], 4096)
			})
		}},
		{"i_blocks counts blocks", "i_blocks is", func(m memory) {
			editInode(t, m, fs, one, func(raw []byte) { le.PutUint32(raw[inBlocksLo:], 2) })
		}},
		{"block map", "has a block map", func(m memory) {
			editInode(t, m, fs, one, func(raw []byte) {
				le.PutUint32(raw[inFlags:], le.Uint32(raw[inFlags:])&^flExtents)
				clear(raw[inBlock:][:inBlockSize])
				le.PutUint32(raw[inBlock:], uint32(data))
			})
		}},
		{"bitmap", "is free, but it is in use", func(m memory) {
			sealGroup(m, fs, func(bitmap, d []byte) {
				bit := sb.clusterOf(data)
				bitmap[bit/8] &^= 1 << (bit % 8)
				le.PutUint16(d[gdFreeBlocksLo:], le.Uint16(d[gdFreeBlocksLo:])+1)
			})
			patch(m, func(raw []byte) { le.PutUint32(raw[sbFreeBlocksLo:], le.Uint32(raw[sbFreeBlocksLo:])+4) })
		}},
		{"a group counts blocks", "counts exceed", func(m memory) {
			sealGroup(m, fs, func(_, d []byte) { le.PutUint16(d[gdFreeBlocksLo:], le.Uint16(d[gdFreeBlocksLo:])*4) })
		}},
		{"free clusters of a group", "free clusters, but there are", func(m memory) {
			sealGroup(m, fs, func(_, d []byte) { le.PutUint16(d[gdFreeBlocksLo:], le.Uint16(d[gdFreeBlocksLo:])-1) })
		}},
		{"the superblock counts clusters", "superblock counts", func(m memory) {
			patch(m, func(raw []byte) { le.PutUint32(raw[sbFreeBlocksLo:], le.Uint32(raw[sbFreeBlocksLo:])/4) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := memory(bytes.Clone(whole))
			c.edit(m)
			refusedFor(t, m, c.want)
		})
	}
}

// TestClusterGeometry: superblocks that contradict themselves.
func TestClusterGeometry(t *testing.T) {
	whole := clusterImage(t)
	set := func(off int, v uint32) func(raw []byte) {
		return func(raw []byte) { le.PutUint32(raw[off:], v) }
	}
	for _, c := range []struct {
		name, want string
		edit       func(raw []byte)
	}{
		{"smaller than blocks", "s_first_data_block is 0", func(raw []byte) { set(sbLogClusterSize, 0)(raw) }},
		{"larger", "s_blocks_per_group is 32768", set(sbLogClusterSize, 3)},
		{"512 MiB", "more than e2fsck can check", func(raw []byte) { set(sbLogClusterSize, 19)(raw); set(sbFirstDataBlock, 1)(raw) }},
		{"beyond", "s_log_cluster_size 20 is out of range", func(raw []byte) { set(sbLogClusterSize, 20)(raw); set(sbFirstDataBlock, 1)(raw) }},
		{"clusters per group", "s_clusters_per_group 0 is out of range", set(sbClustersPerGroup, 0)},
		{"too many clusters per group", "s_clusters_per_group 8200 is out of range", func(raw []byte) {
			set(sbClustersPerGroup, 8200)(raw)
			set(sbBlocksPerGroup, 4*8200)(raw)
		}},
		{"blocks per group", "s_blocks_per_group is 32764", set(sbBlocksPerGroup, 32764)},
		{"without extents", "bigalloc, but not extent", func(raw []byte) {
			set(sbFeatureIncompat, le.Uint32(raw[sbFeatureIncompat:])&^incompatExtents)(raw)
		}},
		{"without the feature", "clusters are not blocks", func(raw []byte) {
			set(sbFeatureROCompat, le.Uint32(raw[sbFeatureROCompat:])&^roBigalloc)(raw)
			set(sbFirstDataBlock, 1)(raw)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := memory(bytes.Clone(whole))
			patch(m, c.edit)
			refusedFor(t, m, c.want)
		})
	}
}

// TestResizeInodeOfClusters: with blocks of 1 KiB, mke2fs lists one block more than it
// reserves. Where that is free for others, signing leaves it alone, as it would be
// overwritten when the file system is enlarged.
func TestResizeInodeOfClusters(t *testing.T) {
	m := fileOf(t, makeImage(t, tree(t), "96M", "-t", "ext4", "-b", "1024", "-C", "2048", "-N", "1024", "-O", "bigalloc,^has_journal", "-I", "128"))
	fsckMemory(t, m)
	_, l := mustCheck(t, m)
	var free []uint64
	for c := range l.listed {
		if g, bit := c/l.fs.sb.clustersPerGroup, c%l.fs.sb.clustersPerGroup; l.used.groups[g][bit/64]>>(bit%64)&1 == 0 {
			free = append(free, l.fs.sb.clusterStart(c))
		}
	}
	if len(free) == 0 {
		t.Fatal("the resize inode lists no free block")
	}
	e := stage(t, l, EditOptions{}, 265)
	tx, err := e.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range tx.p.changes {
		if slices.Contains(free, c.to) {
			t.Errorf("inode %d gets block %d, which the resize inode lists", c.inode.Number, c.to)
		}
	}
	commit(t, e, m)
}

// TestBadBlocksInClusters: e2fsck counts them wrongly ("Programming error").
func TestBadBlocksInClusters(t *testing.T) {
	list := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(list, []byte("1500\n1501\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	img := makeImage(t, "", "4M", "-t", "ext4", "-b", "1024", "-C", "4096", "-O", "bigalloc,^resize_inode", "-l", list)
	_, fs, err := openImage(t, img)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "inode 1: has a block map") {
		t.Errorf("error is %v", err)
	}
}
