package enforce

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// A patch is what a kernel module writes somewhere, as one would that root brings along.
type patch struct {
	addr  uint64
	value []byte
}

// makeModule makes a module for the guest's kernel 6.1 that writes the patch when it is loaded. What such a module has to be
// like it takes from one of the kernel's own.
func (g *guest) makeModule(t *testing.T, to string, p patch) {
	t.Helper()
	release := g.kernels["6.1"].release
	text, err := bed.Output(bed.AsNobody("imagetool", "cat", g.image, "/lib/modules/"+release+"/kernel/fs/nls/nls_utf8.ko"))
	must(t, err)
	own, err := elf.NewFile(bytes.NewReader(text))
	must(t, err)
	section := func(name string) []byte {
		s := own.Section(name)
		if s == nil {
			t.Fatalf("nls_utf8.ko has no section %s", name)
		}
		b, err := s.Data()
		must(t, err)
		return b
	}
	module, versions := section(".gnu.linkonce.this_module"), section("__versions")
	_, magic, _ := strings.Cut(string(section(".modinfo")), "vermagic=")
	magic, _, _ = strings.Cut(magic, "\x00")
	layout := bytes.Index(versions, []byte("module_layout\x00")) - 8 // struct modversion_info: crc, name
	init := le.Uint64(section(".rela.gnu.linkonce.this_module"))     // Elf64_Rela.r_offset of the first, init
	source := fmt.Sprintf(`
	.section .modinfo, "a"
	.asciz "license=GPL"
	.asciz "vermagic=%s"
	.asciz "retpoline=Y"
	.asciz "name=patch"
	.section __versions, "a"
	.byte %s
	.section .gnu.linkonce.this_module, "aw"
	.org %d
	.asciz "patch"
	.org %d
	.quad init_module
	.org %d
	.text
	.globl init_module
	.type init_module, @function
init_module:
	pushf
	cli
	mov %%cr0, %%rdx
	mov %%rdx, %%rax
	and $~0x10000, %%rax # WP
	mov %%rax, %%cr0
	lea value(%%rip), %%rsi
	movabs $%#x, %%rdi
	mov $%d, %%ecx
	rep movsb
	mov %%rdx, %%cr0
	popf
	xor %%eax, %%eax
	ret
value:	.byte %s
`, magic, bytesOf(versions[layout:][:64]), bytes.Index(module, []byte("nls_utf8\x00")), init, len(module), p.addr, len(p.value), bytesOf(p.value))
	dir := bed.Dir(t)
	file := filepath.Join(dir, "patch.S")
	must(t, os.WriteFile(file, []byte(source), 0o644))
	_, err = bed.Output(bed.Peer("gcc", "-c", "-o", to, file))
	must(t, err)
}

// bytesOf writes them for the assembler.
func bytesOf(b []byte) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(b), " ", ", "), "[]")
}

// modulesDisk makes a signed disk with a module.
func (gd *guard) modulesDisk(t *testing.T, p patch) string {
	t.Helper()
	keys, err := theKeys()
	must(t, err)
	in := func(name string) string { return filepath.Join(gd.dir, name) }
	must(t, os.Mkdir(in("modules"), 0o755))
	gd.guest.makeModule(t, in("modules/patch.ko"), p)
	_, err = bed.Output(bed.Peer("mke2fs", "-q", "-t", "ext4", "-d", in("modules"), in("plain.img"), "16M"))
	must(t, err)
	must(t, os.Chown(in("plain.img"), bed.Nobody, bed.Nobody))
	_, err = bed.Output(bed.AsNobody("imagetool", "sign", "--quiet", "--key", keys.sealed.private, in("plain.img"), "--out", in("modules.img")))
	must(t, err)
	return in("modules.img")
}

// kernelPlaces are the addresses of the guest's kernel that a test needs, from its profile.
type kernelPlaces struct {
	Variables map[string]uint64
	Code      []struct {
		Name    string
		Address uint64
	}
}

func (gd *guard) places(t *testing.T) (p kernelPlaces) {
	t.Helper()
	text, err := os.ReadFile(gd.profile)
	must(t, err)
	must(t, json.Unmarshal([]byte(strings.Split(string(text), "\n")[1]), &p))
	return p
}

func (p *kernelPlaces) function(t *testing.T, name string) uint64 {
	t.Helper()
	for _, f := range p.Code {
		if f.Name == name {
			return f.Address
		}
	}
	t.Fatalf("the profile has no function %s", name)
	return 0
}
