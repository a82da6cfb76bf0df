package hostfile

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// StateVariable names the folder for what belongs to no image's folder.
const StateVariable = "VMSEAL_STATE_DIR"

// StateFolder is where the undo logs of block devices are kept.
func StateFolder() string {
	if dir := os.Getenv(StateVariable); dir != "" {
		return filepath.Join(dir, "undo")
	}
	return "/var/lib/vmseal/undo"
}

// deviceName is a name for a block device that it keeps when the machine is
// started anew, as far as the kernel knows one.
func deviceName(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	dir, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		return "device-" + number, nil // no sysfs here
	}
	name := kernelName(dir)
	if number, ok := attribute(dir, "partition"); ok {
		name = kernelName(filepath.Dir(dir)) + "-part" + number
	}
	name = url.PathEscape(name)
	if len(name) > 200 {
		name = fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
	}
	return name, nil
}

// kernelName reads what identifies a whole device from sysfs: the UUID of the
// device mapper (LVM's among them), the world wide name, the file behind a loop
// device. Else there is only the name.
func kernelName(dir string) string {
	for _, file := range []string{"dm/uuid", "wwid", "device/wwid", "loop/backing_file"} {
		if id, ok := attribute(dir, file); ok {
			return strings.ReplaceAll(file, "/", "-") + "-" + id
		}
	}
	return filepath.Base(dir)
}

func attribute(dir, file string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	text := strings.TrimSpace(string(b))
	return text, err == nil && text != ""
}
