package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// TestMkosi signs the disk that Debian's mkosi makes of Debian: a root, a home and swap. mkosi starts containers, which
// works without a system bus, too, if they are told so, and have a /run of their own.
func TestMkosi(t *testing.T) {
	bed.Need(t, "mkosi", "debootstrap", "systemd-nspawn", "unshare", "sfdisk", "sgdisk", "e2fsck", "losetup", "evmctl", "openssl")
	nspawn, err := exec.LookPath("systemd-nspawn")
	if err != nil {
		t.Fatal(err)
	}
	k, dir := defaultKey(t), bed.Dir(t)
	image, tools, work := filepath.Join(dir, "image.raw"), filepath.Join(dir, "bin"), filepath.Join(dir, "work")
	for _, d := range []string{tools, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\nexec " + nspawn + " --keep-unit --register=no \"$@\"\n"
	if err := os.WriteFile(filepath.Join(tools, "systemd-nspawn"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := bed.Peer("unshare", "--mount", "--propagation", "private", "sh", "-c", `mount -t tmpfs tmpfs /run && exec mkosi "$@"`, "mkosi",
		"--distribution", "debian", "--release", "bookworm", "--format", "gpt_ext4", "--without-unified-kernel-images", "--package", "systemd",
		"--home-size", "64M", "--swap-size", "64M", "--workspace-dir", work, "--output", image, "build")
	cmd.Dir, cmd.Env = dir, append(cmd.Env, "PATH="+tools+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkosi: %v\n%s", err, bed.Clip(string(out)))
	}
	if err := os.Chown(image, bed.Nobody, bed.Nobody); err != nil {
		t.Fatal(err)
	}

	out := filepath.Join(bed.Dir(t), "out.img")
	imagetool(t, "inspect", "--check", image).expect(t, 0)
	imagetool(t, "sign", "--key", k.private, image, "--out", out).expect(t, 0)
	imagetool(t, "verify", "--trust", k.public, out).expect(t, 0)
	var table struct {
		PartitionTable struct {
			Partitions []struct {
				Start int64
				Type  string
			}
		}
	}
	if err := json.Unmarshal([]byte(peer(t, "sfdisk", "--json", out)), &table); err != nil {
		t.Fatal(err)
	}
	const swap = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
	systems, signed := 0, false
	for _, p := range table.PartitionTable.Partitions {
		if p.Type == swap {
			continue
		}
		systems++
		fsckAt(t, out, p.Start*512)
		before, after := viewImage(t, image, p.Start*512), viewImage(t, out, p.Start*512)
		if len(before.regular()) == 0 { // /home
			compareViews(t, before, after, true)
			continue
		}
		expectSigned(t, k, before, after)
		signed = true
	}
	if systems != 2 || !signed {
		t.Errorf("%d file systems, signed: %v, in %+v", systems, signed, table)
	}
}
