package hostfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// checkLoop looks for a loop device over the file. For reading, one that cannot
// write is no trouble.
func checkLoop(f *os.File, mode LockMode) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	return checkLoopOver(&st, mode)
}

func checkLoopOver(st *unix.Stat_t, mode LockMode) error {
	dirs, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		sys := filepath.Dir(dir)
		if mode == ForReading && readOnly(sys) {
			continue
		}
		if dev := "/dev/" + filepath.Base(sys); backedBy(dev, dir, st) {
			return &InUseError{How: "a loop device uses it", Holder: dev}
		}
	}
	return nil
}

func readOnly(sys string) bool {
	ro, err := os.ReadFile(filepath.Join(sys, "ro"))
	return err == nil && strings.TrimSpace(string(ro)) == "1"
}

// backedBy asks the driver where we may open the device, since it knows the
// inode. Others have only the path in sysfs, which is not the one to go by if the
// file was renamed or lies in another mount namespace.
func backedBy(dev, dir string, st *unix.Stat_t) bool {
	if f, err := os.Open(dev); err == nil {
		defer f.Close()
		info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		if err == nil {
			return info.Inode == st.Ino && sameDevice(info.Device, st.Dev)
		}
		if errors.Is(err, unix.ENXIO) { // detached meanwhile
			return false
		}
	}
	path, err := os.ReadFile(filepath.Join(dir, "backing_file"))
	if err != nil {
		return false
	}
	var back unix.Stat_t
	name := strings.TrimSuffix(string(path), "\n")
	return unix.Stat(name, &back) == nil && back.Ino == st.Ino && back.Dev == st.Dev
}

// sameDevice compares lo_device, which is huge_encode_dev of the kernel, with a
// device number of stat(2), which may be new_encode_dev: major and minor agree.
func sameDevice(lo, dev uint64) bool {
	return unix.Major(lo) == unix.Major(dev) && unix.Minor(lo) == unix.Minor(dev)
}

// CheckDetached refuses to replace a file that is the disk of a loop device: that would
// be lost with the last user of the device, which may be the image itself.
func CheckDetached(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	err := checkLoopOver(&st, ForCopying)
	if inUse, ok := errors.AsType[*InUseError](err); ok {
		inUse.Path = "output " + path
	}
	return err
}
