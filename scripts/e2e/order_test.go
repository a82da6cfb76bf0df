package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestOrderOfWrites reads from the system calls of a signing in place what a loss of power could come between: the undo
// log and its folder are flushed before the first write to the image, and the image before the log goes.
func TestOrderOfWrites(t *testing.T) {
	bed.Need(t, "mke2fs", "openssl", "strace")
	dir, k := bed.Dir(t), defaultKey(t)
	image := mke2fs(t, dir, 8, "-t", "ext4", "-b", "1024")
	debugfs(t, image, true, "write /etc/passwd passwd")
	log, trace := image+".vmseal-undo", filepath.Join(dir, "trace")
	imagetool := bed.AsNobody("imagetool", "sign", "--key", k.private, image, "--in-place")
	// strace stays root, since it may not look into a program that it may not read.
	cmd := exec.Command("strace", append([]string{"-u", "nobody", "-f", "-y", "-o", trace, "-e",
		"trace=pwrite64,write,fsync,fdatasync,renameat2,rename,link,unlink,unlinkat", imagetool.Path}, imagetool.Args[1:]...)...)
	cmd.Env = imagetool.Env
	finish(t, cmd).expect(t, 0)
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	fd := func(path string) string { return `\(\d+<` + path + `>` }
	quoted := regexp.QuoteMeta
	hidden := quoted(dir) + `/\.vmseal-\w+\.tmp`
	var got []string
	for line := range strings.Lines(string(text)) {
		for name, pattern := range map[string]string{
			"write log":     `^\d+ +write` + fd(hidden),
			"flush log":     `^\d+ +fsync` + fd(hidden),
			"name log":      `^\d+ +renameat2\(.*` + quoted(log) + `"`,
			"flush folder":  `^\d+ +fsync` + fd(quoted(dir)),
			"write image":   `^\d+ +pwrite64` + fd(quoted(image)),
			"flush image":   `^\d+ +fsync` + fd(quoted(image)),
			"remove log":    `^\d+ +unlink(at)?\(.*` + quoted(log) + `"`,
			"write by name": `^\d+ +(write|pwrite64)` + fd(quoted(log)),
		} {
			if regexp.MustCompile(pattern).MatchString(line) {
				got = append(got, name)
			}
		}
	}
	want := []string{
		"write log", "flush log", "name log", "flush folder",
		"write image", "flush image", // not clean
		"write image", "flush image", // new blocks
		"write image", "flush image", // bitmaps and counts
		"write image", "flush image", // inodes
		"write image", "flush image", // clean
		"remove log", "flush folder",
	}
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("system calls\n%q, want\n%q", got, want)
	}
}
