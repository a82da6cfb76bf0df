package e2e

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// populator fills a mounted file system through the kernel with what is awkward to read or to keep.
type populator struct {
	t    *testing.T
	root string
	bs   int64 // block size
	rnd  *rand.Rand
}

func populate(t *testing.T, root string, blockSize int64, xattrs bool) {
	t.Helper()
	p := &populator{t, root, blockSize, newRand(1)}
	p.sizes()
	p.holes()
	p.extents()
	p.indirect()
	p.names()
	p.links()
	p.specials()
	p.bigDirectory()
	if xattrs {
		p.attributes()
		p.sharedAttributes()
		p.signedBefore()
	}
}

func (p *populator) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("populating: %v", err)
	}
}

func (p *populator) path(name string) string { return p.root + "/" + name }

func (p *populator) bytes(n int64) []byte {
	b := make([]byte, n)
	p.rnd.Read(b)
	return b
}

func (p *populator) write(name string, contents []byte) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.must(os.WriteFile(p.path(name), contents, 0o644))
}

// at writes into a file at several offsets and leaves the rest as it is.
func (p *populator) at(name string, size int64, offsets ...int64) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	f, err := os.OpenFile(p.path(name), os.O_CREATE|os.O_RDWR, 0o644)
	p.must(err)
	defer f.Close()
	for _, o := range offsets {
		_, err := f.WriteAt(p.bytes(min(p.bs, size-o)), o)
		p.must(err)
	}
	p.must(f.Truncate(size))
}

// sizes: around blocks, the twelve direct blocks, and what fits into an inode.
func (p *populator) sizes() {
	for _, n := range []int64{0, 1, 59, 60, 61, 100, 127, 128, 130, 156, 160, 200, 400, 700, 900, p.bs - 1, p.bs, p.bs + 1,
		2*p.bs - 1, 2 * p.bs, 12*p.bs - 1, 12 * p.bs, 12*p.bs + 1, 64 << 10, 1<<20 + 3} {
		p.write(fmt.Sprintf("sizes/%d", n), p.bytes(n))
	}
	p.write("sizes/zeros", make([]byte, 3*p.bs))
	p.write("sizes/same-1", []byte("the same"))
	p.write("sizes/same-2", []byte("the same"))
}

func (p *populator) holes() {
	bs := p.bs
	p.at("holes/only", 10*bs+7)
	p.at("holes/start", 9*bs, 8*bs)
	p.at("holes/middle", 9*bs, 0, 8*bs)
	p.at("holes/end", 9*bs+1, 0)
	p.at("holes/many", 64*bs, 0, 2*bs, 5*bs, 6*bs, 40*bs)
	p.write("holes/punched", p.bytes(40*bs))
	p.fallocate("holes/punched", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 5*bs, 10*bs)
	// Unwritten extents: inside the size, at its end, behind it.
	p.at("unwritten/all", 0)
	p.fallocate("unwritten/all", 0, 0, 50*bs)
	p.at("unwritten/tail", 0)
	p.fallocate("unwritten/tail", unix.FALLOC_FL_KEEP_SIZE, 0, 70*bs)
	p.at("unwritten/tail", 3*bs+5, 0, bs, 2*bs)
	p.at("unwritten/middle", 0)
	p.fallocate("unwritten/middle", 0, 0, 60*bs)
	p.at("unwritten/middle", 60*bs, 0, 20*bs, 59*bs)
	p.at("unwritten/behind", 2*bs+1, 0, bs)
	p.fallocate("unwritten/behind", unix.FALLOC_FL_KEEP_SIZE, 2*bs, 30*bs)
	p.write("unwritten/zeroed", p.bytes(30*bs))
	p.fallocate("unwritten/zeroed", unix.FALLOC_FL_ZERO_RANGE, 4*bs, 9*bs)
}

// fallocate does nothing where the file's format cannot (block maps have neither unwritten extents nor zero ranges).
func (p *populator) fallocate(name string, mode uint32, off, n int64) {
	p.t.Helper()
	f, err := os.OpenFile(p.path(name), os.O_RDWR, 0)
	p.must(err)
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), mode, off, n); err != unix.EOPNOTSUPP {
		p.must(err)
	}
}

// extents: a tree of depth two (3,000 extents), and two files whose blocks lie interleaved.
func (p *populator) extents() {
	deep := make([]int64, 3000)
	for i := range deep {
		deep[i] = int64(i) * 2 * p.bs
	}
	p.at("extents/deep", int64(len(deep))*2*p.bs, deep...)
	p.must(os.MkdirAll(p.path("extents"), 0o755))
	a, err := os.Create(p.path("extents/interleaved-a"))
	p.must(err)
	b, err := os.Create(p.path("extents/interleaved-b"))
	p.must(err)
	for range 24 {
		for _, f := range []*os.File{a, b} {
			_, err := f.Write(p.bytes(p.bs))
			p.must(err)
			p.must(f.Sync())
		}
	}
	p.must(a.Close())
	p.must(b.Close())
	p.write("extents/long", p.bytes(6<<20))
}

// indirect: blocks on both sides of each step of a block map. The third step of a map of 4 KiB blocks lies 4 GiB in,
// too far to digest for every variant.
func (p *populator) indirect() {
	per, bs := p.bs/4, p.bs
	offsets := []int64{0, 11 * bs, 12 * bs, (12 + per - 1) * bs, (12 + per) * bs, (12 + per + per) * bs}
	if bs == 1024 {
		third := (12 + per + per*per) * bs
		offsets = append(offsets, third-bs, third, third+per*bs)
	}
	p.at("indirect", offsets[len(offsets)-1]+bs-3, offsets...)
}

var awkwardNames = []string{
	strings.Repeat("n", 255), strings.Repeat("ü", 127), "new\nline", "invalid \xff\xfe utf-8", " ", "-dash", "quote'\"back\\slash",
	"tab\there", "\x01\x7f", ".hidden", "..three", "percent%20", "*[a-z]?", "日本語", "#comment",
}

func (p *populator) names() {
	for _, name := range awkwardNames {
		p.write("names/"+name, []byte(name))
	}
	p.deep(p.path("names"), 12)
}

// deep makes a file below so many folders that its path is longer than some buffers (2.4 KiB; PATH_MAX is 4 KiB).
func (p *populator) deep(dir string, levels int) {
	for range levels {
		dir += "/" + strings.Repeat("d", 200)
	}
	p.must(os.MkdirAll(dir, 0o755))
	p.must(os.WriteFile(dir+"/deep", []byte("deep"), 0o600))
}

func (p *populator) links() {
	p.write("links/file", []byte("linked"))
	for i := range 5 {
		p.must(os.Link(p.path("links/file"), p.path(fmt.Sprintf("links/hard-%d", i))))
	}
	p.must(os.Symlink("file", p.path("links/fast")))
	p.must(os.Symlink(strings.Repeat("x/", 400), p.path("links/slow")))
	p.must(os.Symlink(strings.Repeat("y", 59), p.path("links/59")))
	p.must(os.Symlink(strings.Repeat("y", 60), p.path("links/60")))
	p.must(os.Symlink("/sizes/1", p.path("links/absolute")))
	p.must(os.Symlink("loop", p.path("links/loop")))
	p.must(os.Symlink("../links", p.path("links/dir")))
}

func (p *populator) specials() {
	p.must(os.Mkdir(p.path("special"), 0o700))
	for name, mode := range map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK, "char": unix.S_IFCHR, "block": unix.S_IFBLK} {
		p.must(unix.Mknod(p.path("special/"+name), mode|0o640, int(unix.Mkdev(259, 70000))))
	}
	for name, mode := range map[string]uint32{"setuid": 0o4755, "setgid": 0o2755, "none": 0, "sticky": 0o1777} {
		p.write("special/"+name, []byte(name))
		p.must(os.Chown(p.path("special/"+name), 70000, 1<<31+5)) // ids beyond 16 bits
		p.must(unix.Chmod(p.path("special/"+name), mode))
	}
	old := unix.NsecToTimespec(-3600e9 + 5)
	late := unix.NsecToTimespec(1 << 32 * 1e9)
	p.write("special/times", []byte("before 1970 and after 2106"))
	p.must(unix.UtimesNanoAt(unix.AT_FDCWD, p.path("special/times"), []unix.Timespec{old, late}, 0))
	p.write("special/immutable", []byte("immutable"))
	p.run("chattr", "+i", p.path("special/immutable"))
}

// bigDirectory has 5,000 entries over 64 inodes, and gaps where others were deleted.
func (p *populator) bigDirectory() {
	p.must(os.Mkdir(p.path("big"), 0o755))
	var first [64]string
	for i := range 5000 {
		name := p.path(fmt.Sprintf("big/%04d-%s", i, strings.Repeat("e", i%150)))
		if i < len(first) {
			first[i] = name
			p.must(os.WriteFile(name, []byte(fmt.Sprintf("file %d\n", i)), 0o644))
			continue
		}
		p.must(os.Link(first[i%len(first)], name))
	}
	for i := range 300 {
		p.must(os.Link(first[0], p.path(fmt.Sprintf("big/gone-%d", i))))
	}
	for i := range 300 {
		p.must(os.Remove(p.path(fmt.Sprintf("big/gone-%d", i))))
	}
}

// newRand gives the same contents in every run.
func newRand(seed int64) *rand.Rand { return rand.New(rand.NewSource(seed)) }
