package enforce

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// imaName is the attribute that holds a file's signature.
const imaName = "security.ima"

// signatureCase is one way in which a file can stand before the enforcer.
type signatureCase struct {
	name    string
	allowed bool
	spoil   func(path string, k *keySet) error // changes the signed file
}

// signatureCases come in each kind. A denied one differs from a good one in nothing but what its name says.
var signatureCases = []signatureCase{
	{"good", true, nil},
	{"second-key", true, func(path string, k *keySet) error {
		return evmctl(path, "ima_sign", "-a", "sha256", "-k", k.second.private)
	}},
	{"changed", false, func(path string, _ *keySet) error { return flipLast(path) }},
	{"other-file", false, func(path string, _ *keySet) error {
		return copyLabel(filepath.Join(filepath.Dir(path), "good"+filepath.Ext(path)), path)
	}},
	{"foreign-key", false, func(path string, k *keySet) error {
		return evmctl(path, "ima_sign", "-a", "sha256", "-k", k.foreign.private)
	}},
	{"truncated", false, func(path string, _ *keySet) error {
		return changeLabel(path, func(b []byte) []byte { return b[:len(b)-1] })
	}},
	{"version-1", false, func(path string, k *keySet) error { return evmctl(path, "ima_sign", "--rsa", "-k", k.sealed.private) }},
	{"digest", false, func(path string, _ *keySet) error { return evmctl(path, "ima_hash", "-a", "sha256") }},
	{"unsigned", false, func(path string, _ *keySet) error { return unix.Lremovexattr(path, imaName) }},
	{"deny-list", false, nil}, // signed and unchanged, but its digest is on the list
}

// kinds of files: what each is a copy of, and its name's ending.
type kind struct {
	name, ending string
	of           func(root string, k kernel) (string, error)
}

var kinds = []kind{
	{"program", "", func(root string, _ kernel) (string, error) { return filepath.Join(root, "usr/bin/echo"), nil }},
	{"library", ".so", func(root string, _ kernel) (string, error) {
		return filepath.Join(root, "usr/lib/x86_64-linux-gnu/libutil.so.1"), nil
	}},
	{"script", ".sh", nil},
	{"module-6.1", ".ko", findModule},
	{"module-6.12", ".ko", findModule},
}

// module is one that depends on no other, and leaves no trace but its name.
const module = "dummy"

func findModule(root string, k kernel) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, "lib/modules", k.release, "kernel/drivers/net", module+".ko*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%s has %d modules %s, want 1", k.release, len(found), module)
	}
	return found[0], nil
}

// path is where the guest finds a case.
func (k kind) path(name string) string { return "/opt/t/" + k.name + "/" + name + k.ending }

// addCases puts a file of each kind and each case into the root. All of them differ.
func (g *guest) addCases(root string) error {
	g.denied = make(map[string]string)
	for _, k := range kinds {
		contents := []byte("#!/bin/sh\necho \"$@\"\n#")
		if k.of != nil {
			from, err := k.of(root, g.kernels[strings.TrimPrefix(k.name, "module-")])
			if err != nil {
				return err
			}
			if contents, err = os.ReadFile(from); err != nil {
				return err
			}
		}
		for _, c := range signatureCases {
			own := append(slices.Clip(contents), "\n#"+c.name+"\n"...)
			path := filepath.Join(root, k.path(c.name))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, own, 0o755)); err != nil {
				return err
			}
			if c.name == "deny-list" {
				g.denied[k.path(c.name)] = fmt.Sprintf("%x", sha256.Sum256(own))
			}
		}
	}
	return nil
}

// spoil changes the signed image's cases, through a loop mount.
func (g *guest) spoil(keys *keySet) error {
	at := filepath.Join(g.dir, "mnt")
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	if _, err := output(peer("mount", "-o", "loop", g.image, at)); err != nil {
		return err
	}
	for _, k := range kinds {
		for _, c := range signatureCases {
			if c.spoil == nil {
				continue
			}
			if err := c.spoil(filepath.Join(at, k.path(c.name)), keys); err != nil {
				return fmt.Errorf("spoiling %s: %w", k.path(c.name), err)
			}
		}
	}
	if _, err := output(peer("umount", at)); err != nil {
		return err
	}
	// Not every kernel that can mount a file system can mount it with this feature, so it is added last.
	if _, err := output(peer("tune2fs", "-O", "verity", g.image)); err != nil {
		return err
	}
	_, err := output(peer("e2fsck", "-fn", g.image))
	return err
}

func evmctl(path string, args ...string) error {
	_, err := output(peer("evmctl", append(args, path)...))
	return err
}

// flipLast changes the last byte, which nothing executes: without enforcement nobody would notice.
func flipLast(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)-1] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b[len(b)-1:], int64(len(b)-1))
	return errors.Join(err, f.Close())
}

func readLabel(path string) ([]byte, error) {
	b := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, imaName, b)
	if err != nil {
		return nil, fmt.Errorf("reading %s of %s: %w", imaName, path, err)
	}
	return b[:n], nil
}

func changeLabel(path string, change func(b []byte) []byte) error {
	b, err := readLabel(path)
	if err != nil {
		return err
	}
	return unix.Lsetxattr(path, imaName, change(b), 0)
}

func copyLabel(from, to string) error {
	b, err := readLabel(from)
	if err != nil {
		return err
	}
	if own, err := readLabel(to); err != nil || bytes.Equal(b, own) {
		return errors.Join(err, fmt.Errorf("%s has the label of %s already", to, from))
	}
	return unix.Lsetxattr(to, imaName, b, 0)
}

// use is a command that succeeds if the guest's kernel lets the case be used.
func (k kind) use(name string) string {
	path := k.path(name)
	switch k.name {
	case "program", "script":
		return path + " good"
	case "library": // ld.so goes on without what it may not map, and says so
		return "LD_PRELOAD=" + path + " /usr/bin/true 2>&1 | { ! grep .; }"
	default:
		return "insmod " + path + " && rmmod " + module
	}
}
