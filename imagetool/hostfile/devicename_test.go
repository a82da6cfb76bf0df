package hostfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestKernelName reads what identifies a device from folders as in /sys/dev/block.
func TestKernelName(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"dm-3":    {map[string]string{"dm/uuid": "LVM-AbC123\n", "dm/name": "vg-root\n"}, "dm-uuid-LVM-AbC123"},
		"dm-4":    {map[string]string{"dm/uuid": "\n", "dm/name": "nameless\n"}, "dm-4"},
		"nvme0n1": {map[string]string{"wwid": "eui.0025385\n"}, "wwid-eui.0025385"},
		"sda":     {map[string]string{"device/wwid": "naa.5000c500\n"}, "device-wwid-naa.5000c500"},
		"loop7":   {map[string]string{"loop/backing_file": "/srv/a b.img\n"}, "loop-backing_file-/srv/a b.img"},
		"vda":     {nil, "vda"},
	} {
		dir := filepath.Join(t.TempDir(), name)
		for file, text := range c.files {
			path := filepath.Join(dir, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if got := kernelName(dir); got != c.want {
			t.Errorf("%s is called %q, want %q", name, got, c.want)
		}
	}
}
