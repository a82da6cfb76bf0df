package ext4

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// variants are file systems that mke2fs makes and that must be signed.
var variants = []struct {
	name string
	args []string
}{
	{"default", []string{"-t", "ext4"}},
	{"1k", []string{"-t", "ext4", "-b", "1024"}},
	{"2k", []string{"-t", "ext4", "-b", "2048"}},
	{"8k", []string{"-t", "ext4", "-b", "8192"}},
	{"16k", []string{"-t", "ext4", "-b", "16384"}},
	{"64k", []string{"-t", "ext4", "-b", "65536"}},
	{"inode128", []string{"-t", "ext4", "-I", "128"}},
	{"inode512", []string{"-t", "ext4", "-I", "512"}},
	{"inode1024", []string{"-t", "ext4", "-I", "1024"}},
	{"32bit", []string{"-t", "ext4", "-O", "^64bit"}},
	{"uninit_bg", []string{"-t", "ext4", "-O", "^metadata_csum,uninit_bg"}},
	{"uninit_bg 32bit", []string{"-t", "ext4", "-O", "^metadata_csum,uninit_bg,^64bit"}},
	{"no checksums", []string{"-t", "ext4", "-O", "^metadata_csum,^uninit_bg"}},
	{"metadata_csum_seed", []string{"-t", "ext4", "-O", "metadata_csum_seed"}},
	{"meta_bg", []string{"-t", "ext4", "-O", "meta_bg,^resize_inode"}},
	{"meta_bg 1k", []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"}},
	{"sparse_super2", []string{"-t", "ext4", "-O", "sparse_super2"}},
	{"no flex_bg", []string{"-t", "ext4", "-O", "^flex_bg"}},
	{"no sparse_super", []string{"-t", "ext4", "-O", "^sparse_super,^resize_inode"}},
	{"orphan_file", []string{"-t", "ext4", "-O", "orphan_file"}},
	{"inline_data", []string{"-t", "ext4", "-O", "inline_data", "-I", "512"}},
	{"inline_data 256", []string{"-t", "ext4", "-O", "inline_data"}},
	{"no extents", []string{"-t", "ext4", "-O", "^extent,^64bit"}},
	{"no extents 1k", []string{"-t", "ext4", "-b", "1024", "-O", "^extent,^64bit"}},
	{"no dir_index", []string{"-t", "ext4", "-O", "^dir_index"}},
	{"no huge_file", []string{"-t", "ext4", "-O", "^huge_file"}},
	{"no filetype", []string{"-t", "ext4", "-O", "^filetype"}},
	{"no resize_inode", []string{"-t", "ext4", "-O", "^resize_inode"}},
	{"no ext_attr", []string{"-t", "ext4", "-O", "^ext_attr"}},
	{"no journal", []string{"-t", "ext4", "-O", "^has_journal"}},
	{"quota", []string{"-t", "ext4", "-O", "quota"}},
	{"quota 64k", []string{"-t", "ext4", "-b", "65536", "-O", "quota,project", "-E", allQuotas}},
	{"quota project", []string{"-t", "ext4", "-O", "quota,project", "-E", allQuotas}},
	{"quota project orphan_file", []string{"-t", "ext4", "-O", "quota,project,orphan_file", "-E", allQuotas}},
	{"quota inline_data", []string{"-t", "ext4", "-O", "quota,project,inline_data", "-E", allQuotas}},
	{"quota ext3", []string{"-t", "ext3", "-O", "quota"}},
	{"project", []string{"-t", "ext4", "-O", "project"}},
	{"ea_inode", []string{"-t", "ext4", "-O", "ea_inode"}},
	{"large_dir", []string{"-t", "ext4", "-O", "large_dir"}},
	{"ext3", []string{"-t", "ext3"}},
	{"ext2", []string{"-t", "ext2"}},
	{"ext2 64k", []string{"-t", "ext2", "-b", "65536"}},
	{"ext2 1k", []string{"-t", "ext2", "-b", "1024"}},
	{"small groups", []string{"-t", "ext4", "-b", "1024", "-g", "1024"}},
	{"few inodes per group", []string{"-t", "ext4", "-b", "1024", "-g", "256", "-O", "^resize_inode", "-N", "1024"}},
	{"odd groups", []string{"-t", "ext4", "-b", "1024", "-g", "1000", "-O", "^resize_inode"}},
	{"quota project bigalloc", []string{"-t", "ext4", "-b", "1024", "-C", "4096", "-O", "quota,project,bigalloc", "-E", allQuotas}},
	{"mmp", []string{"-t", "ext4", "-O", "mmp"}},
	{"mmp 1k no checksums", []string{"-t", "ext4", "-b", "1024", "-O", "mmp,^metadata_csum,^uninit_bg"}},
	{"bigalloc", []string{"-t", "ext4", "-b", "4096", "-C", "16384", "-O", "bigalloc"}},
	{"bigalloc 1k", []string{"-t", "ext4", "-b", "1024", "-C", "4096", "-O", "bigalloc"}},
	{"bigalloc 2k, largest inodes", []string{"-t", "ext4", "-b", "2048", "-C", "4096", "-I", "1024", "-O", "bigalloc"}},
	{"bigalloc 16k", []string{"-t", "ext4", "-b", "16384", "-C", "32768", "-O", "bigalloc,^has_journal"}},
	{"bigalloc of one block", []string{"-t", "ext4", "-b", "4096", "-C", "4096", "-O", "bigalloc"}},
	{"bigalloc inode128", []string{"-t", "ext4", "-b", "4096", "-C", "8192", "-I", "128", "-O", "bigalloc,^has_journal"}},
	{"bigalloc, large clusters", []string{"-t", "ext4", "-b", "4096", "-C", "32768", "-O", "bigalloc,^resize_inode"}},
	{"bigalloc 32bit", []string{"-t", "ext4", "-b", "4096", "-C", "8192", "-O", "bigalloc,^64bit"}},
	{"bigalloc, uninit_bg", []string{"-t", "ext4", "-b", "1024", "-C", "2048", "-g", "2048", "-O", "bigalloc,^metadata_csum,uninit_bg,^resize_inode"}},
	{"bigalloc, no checksums", []string{"-t", "ext4", "-b", "1024", "-C", "4096", "-O", "bigalloc,^metadata_csum,^uninit_bg"}},
	{"bigalloc, meta_bg", []string{"-t", "ext4", "-b", "1024", "-C", "4096", "-g", "256", "-O", "bigalloc,meta_bg,^resize_inode"}},
	{"bigalloc, no flex_bg", []string{"-t", "ext4", "-b", "1024", "-C", "4096", "-g", "1024", "-O", "bigalloc,^flex_bg"}},
	{"bigalloc, small groups", []string{"-t", "ext4", "-b", "1024", "-C", "8192", "-g", "256", "-O", "bigalloc,^resize_inode"}},
	{"bigalloc, no sparse_super", []string{"-t", "ext4", "-b", "1024", "-C", "4096", "-g", "512", "-O", "bigalloc,^sparse_super,^resize_inode"}},
	{"bigalloc, inline_data, mmp, orphan_file", []string{"-t", "ext4", "-b", "1024", "-C", "4096", "-O", "bigalloc,inline_data,mmp,orphan_file"}},
}

// TestVariants labels every file of a file system of each variant and asks
// e2fsck and debugfs whether that went well.
func TestVariants(t *testing.T) {
	dir := tree(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			img := makeImage(t, dir, "96M", append([]string{"-N", "4096"}, v.args...)...)
			if strings.HasPrefix(v.name, "quota") {
				mend(t, img)
			}
			fsck(t, img)
			before := contents(t, dir, img)
			values := label(t, img, 265, EditOptions{})
			fsck(t, img)
			if after := contents(t, dir, img); len(before) != len(after) {
				t.Errorf("%d files before, %d after", len(before), len(after))
			}
			checkByDebugfs(t, img, values)
			time1 := time.Unix(1<<32+5, 7)
			if strings.HasSuffix(v.name, "inode128") || strings.HasPrefix(v.args[1], "ext3") || strings.HasPrefix(v.args[1], "ext2") {
				time1 = time.Unix(1e9, 0)
			}
			values = label(t, img, 521, EditOptions{Time: &time1}) // replaced by larger ones
			fsck(t, img)
			checkByDebugfs(t, img, values)
		})
	}
}

// label gives each file a value of n bytes of its own and returns them by path.
func label(t *testing.T, img string, n int, opt EditOptions) map[string][]byte {
	t.Helper()
	f, fs, err := openImage(t, img)
	if err != nil {
		t.Fatal(err)
	}
	l, err := fs.Check(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	e, err := l.Edit(opt)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{}
	for _, file := range l.Files {
		v := append([]byte{3, 2}, pattern(n-2, int64(file.Inode.Number)*int64(n))...)
		if err := e.SetIMA(file.Inode.Number, v); err != nil {
			t.Fatal(err)
		}
		for _, p := range file.Paths {
			values[p] = v
		}
	}
	if err := e.Commit(context.Background(), file{f}); err != nil {
		t.Fatal(err)
	}
	return values
}

// contents compares all files in the image with the tree that it was made from.
func contents(t *testing.T, dir, img string) map[string]*Inode {
	t.Helper()
	_, fs, err := openImage(t, img)
	if err != nil {
		t.Fatal(err)
	}
	l, err := fs.Check(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*Inode{}
	for _, f := range l.Files {
		c, err := fs.Contents(f.Inode)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Paths {
			out[p] = f.Inode
			want, err := os.ReadFile(filepath.Join(dir, p))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("contents of %q differ", p)
			}
		}
	}
	var want int
	if err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if d.Type().IsRegular() {
			want++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(out) != want {
		t.Errorf("image has %d names of files, the tree %d", len(out), want)
	}
	return out
}

// checkByDebugfs has debugfs write some of the values to files of ours.
func checkByDebugfs(t *testing.T, img string, values map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []string{"/sizes/0", "/sizes/60", "/sizes/161", "/sizes/4097", "/sparse", "/many/-0", "/many/" + strings.Repeat("n", 199) + "-199"} {
		out := filepath.Join(dir, "value")
		debugfsReads(t, img, "ea_get -f "+out+" "+p+" security.ima")
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, values[p]) {
			t.Errorf("debugfs reads another value for %q: %x", p, got)
		}
		os.Remove(out)
	}
}
