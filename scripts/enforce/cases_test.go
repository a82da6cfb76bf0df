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

	"github.com/vmseal/vmseal/scripts/internal/bed"
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

// kind is a sort of file that can be executed.
type kind struct {
	name, ending string
	contents     func(root string, c int) ([]byte, error) // of case number c: no two alike
}

var kinds = []kind{
	{"program", "", func(root string, c int) ([]byte, error) { return marked(root, "usr/bin/echo", c) }},
	{"library", ".so", func(root string, c int) ([]byte, error) {
		return marked(root, "usr/lib/x86_64-linux-gnu/libutil.so.1", c)
	}},
	{"script", ".sh", func(_ string, c int) ([]byte, error) {
		return fmt.Appendf(nil, "#!/bin/sh\necho \"$@\"\n# %s\n", signatureCases[c].name), nil
	}},
}

// kindsOf adds the modules of these kernels.
func kindsOf(kernels map[string]kernel) []kind {
	all := slices.Clone(kinds)
	for name, k := range kernels {
		all = append(all, kind{"module-" + name, ".ko", func(root string, c int) ([]byte, error) { return module(root, k.release, c) }})
	}
	return all
}

// data is a file that nobody executes: it is only read, and a shell can take it as its configuration.
var data = kind{"data", ".conf", func(_ string, c int) ([]byte, error) {
	return fmt.Appendf(nil, "name=%q\n", signatureCases[c].name), nil
}}

// kindsFor leaves out the modules of other kernels.
func (g *guest) kindsFor(kernel string) []kind {
	return slices.DeleteFunc(slices.Clone(g.kinds), func(k kind) bool {
		return strings.HasPrefix(k.name, "module-") && k.name != "module-"+kernel
	})
}

// path is where the guest finds a case.
func (k kind) path(name string) string { return "/opt/t/" + k.name + "/" + name + k.ending }

// marked is a file of the root with the case's name behind its end, where nobody looks.
func marked(root, name string, c int) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(root, name))
	return fmt.Appendf(b, "\n# %s\n", signatureCases[c].name), err
}

// module is a kernel module. A mark would break Debian's own signature, so each case is another module: tables of
// letters, which depend on nothing. Compressed ones are unpacked, since Debian 12's insmod would do the same and hand
// over the contents instead of the file.
func module(root, release string, c int) ([]byte, error) {
	found, err := filepath.Glob(filepath.Join(root, "lib/modules", release, "kernel/fs/nls/nls_cp*.ko*"))
	if err != nil || len(found) < len(signatureCases) {
		return nil, fmt.Errorf("the kernel %s has only %d modules nls_cp", release, len(found))
	}
	if filepath.Ext(found[c]) == ".xz" {
		return bed.Output(bed.Peer("xz", "-dc", found[c]))
	}
	return os.ReadFile(found[c])
}

// addCases puts a file of each kind and each case into the root.
func (g *guest) addCases(root string) error {
	g.denied = make(map[string]string)
	for _, k := range append(slices.Clone(g.kinds), data) {
		for i, c := range signatureCases {
			contents, err := k.contents(root, i)
			if err != nil {
				return err
			}
			path := filepath.Join(root, k.path(c.name))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, contents, 0o755)); err != nil {
				return err
			}
			if c.name == "deny-list" {
				g.denied[k.path(c.name)] = fmt.Sprintf("%x", sha256.Sum256(contents))
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
	if _, err := bed.Output(bed.Peer("mount", "-o", "loop", g.image, at)); err != nil {
		return err
	}
	for _, k := range append(slices.Clone(g.kinds), data) {
		for _, c := range signatureCases {
			if c.spoil == nil {
				continue
			}
			if err := c.spoil(filepath.Join(at, k.path(c.name)), keys); err != nil {
				return fmt.Errorf("spoiling %s: %w", k.path(c.name), err)
			}
		}
	}
	if _, err := bed.Output(bed.Peer("umount", at)); err != nil {
		return err
	}
	// Not every kernel that can mount a file system can mount it with this feature, so it is added last.
	if _, err := bed.Output(bed.Peer("tune2fs", "-O", "verity", g.image)); err != nil {
		return err
	}
	_, err := bed.Output(bed.Peer("e2fsck", "-fn", g.image))
	return err
}

func evmctl(path string, args ...string) error {
	_, err := bed.Output(bed.Peer("evmctl", append(args, path)...))
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
		return "insmod " + path + " && rmmod $(modinfo -F name " + path + ")"
	}
}
