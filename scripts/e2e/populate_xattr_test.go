package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func (p *populator) set(name, attr string, value []byte) {
	p.t.Helper()
	if err := unix.Lsetxattr(p.path(name), attr, value, 0); err != nil {
		p.t.Fatalf("populating: setting %s of %q: %v", attr, name, err)
	}
}

func (p *populator) run(name string, args ...string) {
	p.t.Helper()
	if out, err := try(name, args...); err != nil {
		p.t.Fatalf("populating: %s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// attributes: each kind alone, and several kinds in one file.
func (p *populator) attributes() {
	file := func(name string) string {
		p.write("attrs/"+name, []byte(name))
		return "attrs/" + name
	}
	label := []byte("system_u:object_r:bin_t:s0\x00")
	p.set(file("selinux"), "security.selinux", label)
	p.run("setcap", "cap_net_raw,cap_net_admin+ep", p.path(file("caps")))
	p.run("setfacl", "-m", "u:70000:rw,g:12:r,m::rw", p.path(file("acl")))
	p.set(file("user"), "user.comment", []byte("hello"))
	p.set(file("empty-value"), "user.empty", nil)
	p.set(file("not-ascii"), "user.h\xe9llo\xff", []byte("\x00\xff\x80")) // its hash depends on the sign of char
	p.set(file("trusted"), "trusted.overlay.opaque", []byte("y"))
	p.set(file("long-name"), "user."+strings.Repeat("n", 250), []byte("v"))
	p.set(file("block"), "user.large", bytes.Repeat([]byte("L"), 500))

	all := file("all")
	p.set(all, "security.selinux", label)
	p.run("setfacl", "-m", "u:70000:rw", p.path(all))
	p.run("setcap", "cap_chown+ep", p.path(all))
	for i := range 6 {
		p.set(all, fmt.Sprintf("user.%0*d", i+1, i), bytes.Repeat([]byte{byte('a' + i)}, 7*i))
	}
	// Removed and shortened values leave gaps that the next value must not trip over.
	gaps := file("gaps")
	p.set(gaps, "user.a", bytes.Repeat([]byte("a"), 60))
	p.set(gaps, "user.b", bytes.Repeat([]byte("b"), 200))
	p.set(gaps, "user.c", bytes.Repeat([]byte("c"), 30))
	p.set(gaps, "user.b", []byte("short"))
	p.must(unix.Lremovexattr(p.path(gaps), "user.a"))
	// Attributes of what is not signed must stay as well.
	p.set("attrs", "user.dir", bytes.Repeat([]byte("D"), 300))
	p.set("attrs", "security.selinux", label)
	p.set("links/fast", "security.selinux", label)
	p.set("special/fifo", "security.selinux", label)
}

// sharedAttributes: files whose attributes are equal share one block in ext4 (h_refcount > 1).
func (p *populator) sharedAttributes() {
	p.must(os.Mkdir(p.path("shared"), 0o755))
	p.run("setfacl", "-d", "-m", "u:70000:rwx,u:70001:r,u:70002:rw,g:70003:rx,g:70004:r,m::rwx", p.path("shared"))
	for i := range 20 {
		p.write(fmt.Sprintf("shared/acl-%d", i), p.bytes(int64(100+i))) // inherit the default ACL
	}
	big := bytes.Repeat([]byte("shared "), 60)
	for i := range 20 {
		name := fmt.Sprintf("shared/value-%d", i)
		p.write(name, p.bytes(int64(100+i)))
		p.set(name, "user.shared", big)
	}
	p.must(os.Mkdir(p.path("shared/dir"), 0o755))
	p.set("shared/dir", "user.shared", big) // a folder that shares it keeps its share
}

// largeAttributes: values beyond a block, which lie in inodes of their own. Files with the same value share the inode
// that has it; those whose attributes are all the same share the block as well.
func (p *populator) largeAttributes() {
	for _, n := range []int64{p.bs, 20000, 64 << 10} {
		name := fmt.Sprintf("large/%d", n)
		p.write(name, []byte(name))
		p.set(name, "user.large", p.bytes(n))
	}
	value, other := p.bytes(9000), p.bytes(9001)
	for i := range 12 {
		name := fmt.Sprintf("large/same-%d", i)
		p.write(name, p.bytes(int64(100+i)))
		p.set(name, "user.large", value)
		if i%2 == 0 {
			p.set(name, "user.other", other)
		}
		if i%3 == 0 {
			p.set(name, "user.number", []byte{byte(i)})
		}
	}
	p.set("large", "user.large", value)
}

// signedBefore: a signature of this key, of another, a plain digest, and values that are nothing.
func (p *populator) signedBefore() {
	mine, other := defaultKey(p.t), testKey(p.t, "other", 2048)
	for name, k := range map[string]*key{"mine": mine, "other": other} {
		for _, big := range []bool{false, true} {
			file := fmt.Sprintf("signed/%s-%v", name, big)
			p.write(file, []byte(name))
			if big {
				p.set(file, "user.big", bytes.Repeat([]byte("B"), 400))
			}
			p.run("evmctl", "ima_sign", "-a", "sha256", "-k", k.private, p.path(file))
		}
	}
	p.write("signed/larger", []byte("larger"))
	p.run("evmctl", "ima_sign", "-a", "sha512", "-k", testKey(p.t, "large", 4096).private, p.path("signed/larger"))
	p.write("signed/digest", []byte("digest"))
	p.run("evmctl", "ima_hash", "-a", "sha256", p.path("signed/digest"))
	p.write("signed/stale", []byte("before"))
	p.run("evmctl", "ima_sign", "-a", "sha256", "-k", mine.private, p.path("signed/stale"))
	p.write("signed/stale", []byte("after"))
	p.write("signed/linked", []byte("linked"))
	p.run("evmctl", "ima_sign", "-a", "sha256", "-k", other.private, p.path("signed/linked"))
	p.must(os.Link(p.path("signed/linked"), p.path("signed/linked-too")))
}
