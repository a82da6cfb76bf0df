package kernel

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/profile"
)

// An instruction as objdump has it.
type instruction struct {
	at   uint64
	size int
	text string
}

// disassemble gives the instructions of a function.
func disassemble(t *testing.T, vmlinux string, f profile.Function) map[uint64]instruction {
	t.Helper()
	end := f.Address + uint64(f.Size)
	out, err := exec.Command("objdump", "-d", "-w", fmt.Sprintf("--start-address=%#x", f.Address), fmt.Sprintf("--stop-address=%#x", end), vmlinux).Output()
	if err != nil {
		t.Fatal(err)
	}
	list := map[uint64]instruction{}
	for _, m := range regexp.MustCompile(`(?m)^([0-9a-f]{16}):\t((?:[0-9a-f]{2} )+) *\t(.*?) *$`).FindAllSubmatch(out, -1) {
		at, err := strconv.ParseUint(string(m[1]), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		list[at] = instruction{at, len(bytes.Fields(m[2])), string(m[3])}
	}
	return list
}

// TestKernelCode holds the code of real kernels to what objdump makes of it: what is left
// out is an instruction of a kind that the kernel changes, or a lock prefix; and what
// leads to LSMs is not left out.
func TestKernelCode(t *testing.T) {
	tool(t, "objdump")
	eachKernel(t, func(t *testing.T, u *unpacked) {
		functions, size, spans := 0, 0, 0
		for _, f := range u.profile.Code {
			functions, size, spans = functions+1, size+int(f.Size), spans+len(f.Patched)
		}
		t.Logf("%d functions, %d bytes, %d spans", functions, size, spans)
		if functions < 100 || size < 30_000 || size > 100_000 || spans < 100 || spans > 400 {
			t.Error("other kernels have more or less")
		}
		// From 7.3 on the kernel leaves lock prefixes alone.
		locks := slices.ContainsFunc(u.profile.Code, func(f profile.Function) bool {
			return slices.ContainsFunc(f.Patched, func(s profile.Span) bool { return s.Size == 1 })
		})
		for _, name := range []string{
			"process_measurement", "ima_appraise_measurement", "ima_write_policy", "ima_match_policy", "ima_file_mmap", "ima_collect_measurement",
			"security_bprm_check", "security_mmap_file", "security_file_mprotect", "security_kernel_read_file", "security_kernel_post_load_data",
			"integrity_digsig_verify", "integrity_kernel_read", hookedBy(u.profile.Hooks["blkdev_mmap"]),
		} {
			checkFunction(t, u.vmlinux, functionOf(t, u.profile, name), locks)
		}
		has := func(name string) bool {
			return slices.ContainsFunc(u.profile.Code, func(f profile.Function) bool { return f.Name == name })
		}
		for _, name := range []string{"ima_get_action", "ima_must_appraise", "ima_get_cache_status", "ima_bprm_check", "ima_read_xattr", "ima_post_read_file"} {
			if !has(name) {
				t.Errorf("%s is not in the list", name)
			}
		}
		if !has("ima_inode_get") && !has("integrity_inode_get") { // from 6.9 on | before
			t.Error("what finds the state of an inode is not in the list")
		}
	})
}

// barrier is smp_mb (__smp_mb, arch/x86/include/asm/barrier.h), whose prefix stays whatever the number of CPUs.
const barrier = "lock addl $0x0,-0x4(%rsp)"

func checkFunction(t *testing.T, vmlinux string, f profile.Function, locks bool) {
	t.Helper()
	list := disassemble(t, vmlinux, f)
	hook := strings.HasPrefix(f.Name, "security_")
	fentry := false
	for _, s := range f.Patched {
		at := f.Address + uint64(s.At)
		in, ok := list[at]
		switch {
		case !ok:
			t.Errorf("%s: no instruction begins at %#x", f.Name, at)
		case s.At <= 4 && s.Size == 5 && strings.HasPrefix(in.text, "call "):
			fentry = true
		case s.Size == 1:
			if !strings.HasPrefix(in.text, "lock ") {
				t.Errorf("%s: a lock prefix at %#x, objdump has %q", f.Name, at, in.text)
			}
		case hook:
			t.Errorf("%s: %d bytes at %#x are left out, %q", f.Name, s.Size, at, in.text)
		case in.size != int(s.Size) || !regexp.MustCompile(`^(jmp |nop|xchg +%ax,%ax|call |j\w+ )`).MatchString(in.text):
			t.Errorf("%s: %d bytes at %#x are left out, objdump has %d, %q", f.Name, s.Size, at, in.size, in.text)
		}
	}
	if !fentry {
		t.Errorf("%s: no fentry slot: %v", f.Name, f.Patched)
	}
	for at, in := range list {
		left := slices.ContainsFunc(f.Patched, func(s profile.Span) bool { return f.Address+uint64(s.At) == at })
		if strings.HasPrefix(in.text, "lock ") && in.text != barrier && left != locks {
			t.Errorf("%s: the lock prefix at %#x is left out: %v", f.Name, at, left)
		}
	}
}
