package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/imagetool/internal/refusals"
)

// book has every refusal of the package, and who else refuses.
var book = refusals.Book{Makers: refusals.Makers{
	"damaged":   {Argument: 0},
	"refuse":    {Argument: 1},
	"incurable": {Argument: 0},
	"bad":       {Argument: 0, Prefix: "superblock: "},
	"mendable":  {Argument: 0, Prefix: "superblock: "},
}}

func TestMain(m *testing.M) { os.Exit(book.Run(m)) }

func TestRefusalsTable(t *testing.T) { book.CheckTable(t, "REFUSALS.md") }

// refusedFor wants an image to be refused for a reason that e2fsck shares, or that is
// written beside the refusal.
func refusedFor(t *testing.T, m memory, want string) {
	t.Helper()
	_, _, err := checkAll(m)
	judged(t, m, err, want)
}

func judged(t *testing.T, m memory, err error, want string) {
	t.Helper()
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, expected one about %q", err, want)
		return
	}
	book.Note(t, refused.Reason, verdict(t, m, book.Needed(t, refused.Reason)))
	leadsOut(t, m, refused)
}

// commandIn finds the command of a hint, as errors.go says it is written.
var commandIn = regexp.MustCompile(`'((?:e2fsck|tune2fs|debugfs) [^']*)'`)

// leadsOut does what a hint says, if it names a command: afterwards the file system is not
// refused any more, or for something else that nothing mends. It may take several hints, or
// the same one several times.
func leadsOut(t *testing.T, m memory, refused *RefusedError) {
	t.Helper()
	img, first := imageOf(t, m), refused
	for range 4 {
		command := commandIn.FindStringSubmatch(refused.Hint)
		if command == nil {
			if refused != first && strings.Contains(refused.Reason, first.Reason) {
				break
			}
			return
		}
		out, err := exec.Command("sh", "-c", strings.ReplaceAll(command[1], "FILESYSTEM", img)).CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1 || !strings.Contains(command[1], "e2fsck -fy")) {
			t.Errorf("%s: the hint %q: %v\n%s", refused.Reason, refused.Hint, err, out)
			return
		}
		after, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		fs, _, err := checkAll(after)
		if err == nil {
			err = fs.Writable()
		}
		if err == nil {
			return
		}
		next, ok := errors.AsType[*RefusedError](err)
		if !ok {
			t.Errorf("%q leads from %q to %v\n%s", command[1], refused.Reason, err, out)
			return
		}
		refused = next
	}
	t.Errorf("the hints lead from %q to %q", first.Reason, refused.Reason)
}

// patience with e2fsck, which some superblocks keep busy for hours.
const patience = 5 * time.Minute

// verdict asks e2fsck and then, unless there is another reason, the kernel.
func verdict(t testing.TB, m memory, enough bool) refusals.Verdict {
	t.Helper()
	img := imageOf(t, m)
	if v := fsckVerdict(t, img); v != "" {
		return refusals.Verdict{Against: v}
	}
	if enough {
		return refusals.Verdict{}
	}
	return kernelVerdict(t, img)
}

// imageOf is a file that holds the image.
func imageOf(t testing.TB, m memory) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "judged.img")
	if err := os.WriteFile(img, m, 0o644); err != nil {
		t.Fatal(err)
	}
	return img
}

func fsckVerdict(t testing.TB, img string) string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, need(t, "e2fsck"), "-fn", img).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("e2fsck -fn took longer than %v", patience)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Logf("e2fsck -fn exits with %d:\n%s", exit.ExitCode(), out)
		return "e2fsck -fn fails"
	}
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("? no\n")) { // what it asks is not always reason enough
		return "e2fsck -fn asks whether to mend it"
	}
	if out, err := exec.Command(need(t, "e2fsck"), "-n", img).CombinedOutput(); err != nil || !bytes.Contains(out, []byte(": clean, ")) {
		return "e2fsck does not call it clean"
	}
	return ""
}

// kernelVerdict mounts a file system read-only and reads all of it.
func kernelVerdict(t testing.TB, img string) refusals.Verdict {
	if os.Getuid() != 0 {
		return refusals.Verdict{Missing: "only root can mount"}
	}
	dir := t.TempDir()
	if out, err := exec.Command(need(t, "mount"), "-t", "ext4", "-o", "ro,loop,nodev,nosuid,noexec", img, dir).CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("loop device")) {
			return refusals.Verdict{Missing: "there is no loop device"}
		}
		t.Logf("mount: %v\n%s", err, out)
		return refusals.Verdict{Against: "the kernel does not mount it"}
	}
	defer execute(t, "umount", dir)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = readAsKernel(path, d.Type())
		}
		return err
	})
	if err != nil {
		t.Log(err)
		return refusals.Verdict{Against: "the kernel fails to read it"}
	}
	return refusals.Verdict{}
}

// readAsKernel reads what belongs to one file.
func readAsKernel(path string, mode fs.FileMode) error {
	switch {
	case mode&fs.ModeSymlink != 0:
		_, err := os.Readlink(path)
		return err
	case mode.IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(io.Discard, io.LimitReader(f, 1<<26)); err != nil {
			return err
		}
	}
	list := make([]byte, 1<<16)
	n, err := syscall.Listxattr(path, list)
	if err != nil {
		return fmt.Errorf("%s: listxattr: %w", path, err)
	}
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" {
			continue
		}
		if _, err := syscall.Getxattr(path, name, make([]byte, 1<<16)); err != nil {
			return fmt.Errorf("%s: getxattr %s: %w", path, name, err)
		}
	}
	return nil
}
