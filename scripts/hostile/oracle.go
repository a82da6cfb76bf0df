package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const patience = 10 * time.Minute // with tools that are not ours

// judge has e2fsck and debugfs look at a signed image.
func (t *trial) judge(ctx context.Context, path string, signed []byte) {
	if t.err != nil {
		return
	}
	start, inodes := t.shape()
	where := fmt.Sprintf("%s?offset=%d", path, start)
	c, err := run(ctx, patience, "e2fsck", "-fn", where)
	if err != nil {
		t.err = err
		return
	}
	if c.Code != 0 {
		t.fault("e2fsck of the signed image: exit %d\n%s", c.Code, c.stdout)
	}
	before, err := t.view(ctx, fmt.Sprintf("%s?offset=%d", t.image, start), inodes)
	if err != nil {
		t.err = err
		return
	}
	after, err := t.view(ctx, where, inodes)
	if err != nil {
		t.err = err
		return
	}
	if before != after {
		t.fault("debugfs sees more changed than labels: %s", firstDifference(before, after))
	}
	if block := t.changedBlock(before, start, signed); block >= 0 {
		t.fault("block %d of a file's contents or its map changed", block)
	}
}

// agrees asks whether e2fsck, too, has something to say against an image that was refused:
// it fails, would mend something, or does not call the file system clean without -f.
func (t *trial) agrees(ctx context.Context) bool {
	if t.err != nil {
		return true
	}
	start, _ := t.shape()
	where := fmt.Sprintf("%s?offset=%d", t.image, start)
	for _, option := range []string{"-fn", "-n"} {
		c, err := run(ctx, patience, "e2fsck", option, where)
		if err != nil {
			t.err = err
			return true
		}
		said := c.stdout + c.stderr
		if c.Code != 0 || strings.Contains(said, "? no\n") || option == "-n" && !strings.Contains(said, ": clean, ") {
			return true
		}
	}
	return false
}

// shape is where the file system begins and how many inodes it has, as the
// superblock says, which is right in an image that was signed.
func (t *trial) shape() (start, inodes int) {
	if t.kind == "gpt" {
		start = 1 << 20
	}
	return start, int(binary.LittleEndian.Uint32(t.bytes[start+1024:]))
}

// What signing may change: the count of blocks, the attribute block, the
// checksum, and of the attributes security.ima.
var labels = regexp.MustCompile(`(?m)^(Inode checksum: .*|Extended attributes:|  security\.ima \(.*)\n|File ACL: \d+|Blockcount: \d+`)

// view is what debugfs says of all files, contents of inodes included, but for
// what signing may change.
func (t *trial) view(ctx context.Context, where string, inodes int) (string, error) {
	var script bytes.Buffer
	for n := 1; n <= min(inodes, 5000); n++ {
		fmt.Fprintf(&script, "stat <%d>\ninode_dump -b <%d>\ntesti <%d>\n", n, n, n)
	}
	file := filepath.Join(t.dir, "..", filepath.Base(t.dir)+".script")
	if err := os.WriteFile(file, script.Bytes(), 0o644); err != nil {
		return "", err
	}
	c, err := run(ctx, patience, "debugfs", "-f", file, where)
	if err != nil {
		return "", err
	}
	if c.Code != 0 || c.killed {
		return "", fmt.Errorf("debugfs: exit %d: %s", c.Code, c.stderr)
	}
	var files strings.Builder
	for inode := range strings.SplitSeq(c.stdout, "debugfs: stat ") {
		// What deleted files once had may belong to others by now, and quotas go up.
		if strings.Contains(inode, " is marked in use\n") && !t.isQuota(inode) {
			files.WriteString(labels.ReplaceAllString(inode, ""))
		}
	}
	return files.String(), nil
}

// isQuota reports whether what debugfs says is said of a quota file. Its numbers
// are for e2fsck to judge.
func (t *trial) isQuota(inode string) bool {
	const userQuota, groupQuota, projectQuota = 0x240, 0x244, 0x26c // s_usr_quota_inum and so on
	start, _ := t.shape()
	for _, off := range []int{userQuota, groupQuota, projectQuota} {
		n := binary.LittleEndian.Uint32(t.bytes[start+1024+off:])
		if n != 0 && strings.HasPrefix(inode, fmt.Sprintf("<%d>\n", n)) {
			return true
		}
	}
	return false
}

var (
	// The blocks that debugfs gives a FIFO mean nothing.
	hasMap  = regexp.MustCompile(`^[0-9]+ +Type: (regular|directory|symlink) `)
	mapLine = regexp.MustCompile(`(?m)^\((?:[0-9]+|IND|DIND|TIND|ETB[0-9]+).*$`)
	mapRun  = regexp.MustCompile(`\):(\d+)(?:-(\d+))?`)
)

// changedBlock compares all blocks of which debugfs says that they hold
// contents or maps; -1 if they are the same.
func (t *trial) changedBlock(view string, start int, signed []byte) int {
	size := 1024 << binary.LittleEndian.Uint32(t.bytes[start+1024+0x18:])
	for inode := range strings.SplitSeq(view, "Inode: ") {
		if !hasMap.MatchString(inode) {
			continue
		}
		for _, m := range mapRun.FindAllStringSubmatch(strings.Join(mapLine.FindAllString(inode, -1), "\n"), -1) {
			first, _ := strconv.Atoi(m[1])
			last, err := strconv.Atoi(m[2])
			if err != nil {
				last = first
			}
			from, to := start+first*size, start+(last+1)*size
			if to > len(signed) || !bytes.Equal(t.bytes[from:to], signed[from:to]) {
				return first
			}
		}
	}
	return -1
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	inode := ""
	for i := range min(len(x), len(y)) {
		if strings.HasPrefix(x[i], "Inode: ") {
			inode = x[i]
		}
		if x[i] != y[i] {
			return fmt.Sprintf("%s: %.200q is now %.200q", inode, x[i], y[i])
		}
	}
	return "one is longer"
}

// repair has e2fsck mend the image, and takes what it left as the specimen.
func (r *result) repair(ctx context.Context, image string) error {
	if r.kind == "gpt" || r.kind == "mmp" { // it cannot, or waits
		return nil
	}
	for range 2 {
		if _, err := run(ctx, patience, "e2fsck", "-fy", image); err != nil {
			return err
		}
	}
	info, err := os.Stat(image)
	if err != nil {
		return err
	}
	// It may believe in a size of terabytes, and then make the image that long.
	if info.Size() != int64(len(r.bytes)) {
		return os.WriteFile(image, r.bytes, 0o644)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, r.bytes) {
		r.damage = append(r.damage, "repaired by e2fsck -fy")
		r.bytes = b
	}
	return nil
}
