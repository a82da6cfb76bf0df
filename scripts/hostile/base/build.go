package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vmseal/vmseal/scripts/hostile/mutate"
)

// Build makes the file system of a recipe in an empty folder and parses it.
func (r *Recipe) Build(ctx context.Context, dir string) (*mutate.Image, error) {
	im, err := r.build(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("making image %s: %w", r.Name, err)
	}
	return im, nil
}

func (r *Recipe) build(ctx context.Context, dir string) (*mutate.Image, error) {
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "image")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return nil, err
	}
	blockSize, err := strconv.Atoi(r.Args[3])
	if err != nil {
		return nil, err
	}
	if err := r.fill(tree, blockSize); err != nil {
		return nil, err
	}
	mke2fs := append([]string{"-q", "-F", "-d", tree, "-N", "48", "-m", "0", "-L", "hostile", "-U", "6d7f0c0e-3d2f-4f43-9c55-0d5e5b1c7a10",
		"-E", strings.TrimSuffix("hash_seed=0e4f4b1c-8a1a-4c35-9a41-3b7d58a2f9c6,"+r.Extended, ",")}, r.Args...)
	if err := run(ctx, "mke2fs", append(mke2fs, image, r.Size)...); err != nil {
		return nil, err
	}
	if err := r.attributes(ctx, dir, image); err != nil {
		return nil, err
	}
	if err := r.finish(image); err != nil {
		return nil, err
	}
	// Hash trees and the sums of quotas are e2fsck's work; it says so with its exit code.
	var exit *exec.ExitError
	if err := run(ctx, "e2fsck", "-fyD", image); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, err
	}
	if r.MMP {
		if err := run(ctx, "tune2fs", "-O", "mmp", image); err != nil {
			return nil, err
		}
	}
	if err := run(ctx, "e2fsck", "-fn", image); err != nil {
		return nil, err
	}
	im, err := parse(r.Name, image)
	if err != nil {
		return nil, err
	}
	im.Unmounted(uint64(epoch.Unix()))
	if !r.Disk {
		return im, nil
	}
	return r.disk(ctx, im.Bytes, filepath.Join(dir, "disk"))
}

// attributes sets attributes in inodes, in blocks, and in one block that two
// files share. Where the feature allows it, a value gets an inode of its own.
func (r *Recipe) attributes(ctx context.Context, dir, image string) error {
	var script strings.Builder
	set := func(path, name string, size int) {
		value := filepath.Join(dir, "value-"+strconv.Itoa(size))
		if err := os.WriteFile(value, pattern(size, size), 0o644); err != nil {
			fmt.Fprintln(&script, "error")
		}
		fmt.Fprintf(&script, "ea_set -f %s %s %s\n", value, path, name)
	}
	set("/hello", "user.small", 4)
	set("/empty", "user.tiny", 1)
	set("/page", "user.large", 300)
	set("/page", "user.other", 33)
	set("/one", "security.capability", 20)
	set("/large", "security.ima", 265)
	set("/sub", "user.directory", 30)
	set("/names", "user.directory", 200)
	if strings.Contains(strings.Join(r.Args, ","), "ea_inode") {
		set("/inline", "user.huge", 3000)
		set("/hello", "user.huge", 5000)
	}
	if features := strings.Join(r.Args, ","); strings.Contains(features, ",extent") && !strings.Contains(features, "^extent") {
		fmt.Fprintln(&script, "fallocate /large 20 25") // behind the end
	}
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte(script.String()), 0o644); err != nil {
		return err
	}
	return run(ctx, "debugfs", "-w", "-f", file, image)
}

// finish makes by hand what only a kernel makes.
func (r *Recipe) finish(image string) error {
	im, err := parse(r.Name, image)
	if err != nil {
		return err
	}
	im.SetTimes(uint32(epoch.Unix())) // mke2fs copies the ctime of the tree
	im.Share()
	if r.Sums {
		im.SetJournalSums()
		// Only when it is parsed again has the journal a checksum.
		if im, err = mutate.Parse(r.Name, im.Bytes, 0); err != nil {
			return err
		}
	}
	im.Seal(im.Bytes)
	return os.WriteFile(image, im.Bytes, 0o644)
}

func parse(name, path string) (*mutate.Image, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return mutate.Parse(name, b, 0)
}

const partitionStart = 1 << 20

// disk puts a file system into the only partition of a disk.
func (r *Recipe) disk(ctx context.Context, fs []byte, path string) (*mutate.Image, error) {
	disk := make([]byte, partitionStart+len(fs)+partitionStart)
	copy(disk[partitionStart:], fs)
	if err := os.WriteFile(path, disk, 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "sfdisk", "-q", path)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("label: gpt\nlabel-id: 6D7F0C0E-3D2F-4F43-9C55-0D5E5B1C7A11\n"+
		"start=%d, size=%d, type=linux, uuid=6D7F0C0E-3D2F-4F43-9C55-0D5E5B1C7A12\n", partitionStart/512, len(fs)/512))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("sfdisk: %w: %s", err, out)
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return mutate.Parse(r.Name, disk, partitionStart)
}

// run runs a program of e2fsprogs, for which the time stands still.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", fmt.Sprint("E2FSPROGS_FAKE_TIME=", epoch.Unix()), fmt.Sprint("E2FSCK_TIME=", epoch.Unix()), "MKE2FS_CONFIG=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
