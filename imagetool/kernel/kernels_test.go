package kernel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/vmseal/vmseal/formats/profile"
	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
)

// findKernels gives the files that scripts/kernels finds or fetches, and what it
// says about those that it has not; findFew one of each series.
var (
	findKernels = sync.OnceValues(func() ([]string, error) { return runScript() })
	findFew     = sync.OnceValues(func() ([]string, error) { return runScript("VMSEAL_KERNELS=few") })
)

func runScript(env ...string) (files []string, missing error) {
	cmd := exec.Command("../../scripts/kernels")
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		missing = fmt.Errorf("scripts/kernels: %v\n%s", err, &stderr)
	}
	return strings.Fields(string(out)), missing
}

// kernels gives the files that are found, or skips the test if there are none.
func kernels(t *testing.T, find func() ([]string, error)) []string {
	t.Helper()
	if testing.Short() {
		t.Skip("works on real kernels, which takes long")
	}
	files, missing := find()
	switch {
	case missing != nil && os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1":
		t.Fatal(missing)
	case len(files) == 0:
		t.Skip(missing)
	case missing != nil:
		t.Log(missing)
	}
	return files
}

// An unpacked kernel is kept for all tests, in a file: unpacking takes seconds.
type unpacked struct {
	path    string // of what scripts/kernels gives
	vmlinux string // the ELF file in it
	profile *profile.Profile
}

var (
	unpackedDir string
	unpackedAll = map[string]*unpacked{}
)

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(unpackedDir)
	os.Exit(code)
}

func unpack(t *testing.T, path string) *unpacked {
	t.Helper()
	if k := unpackedAll[path]; k != nil {
		return k
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	elf, err := vmlinux(file)
	if err != nil {
		t.Fatal(err)
	}
	k := &unpacked{path: path}
	if k.profile, err = Profile(file, Options{}); err != nil {
		t.Fatal(err)
	}
	if unpackedDir == "" {
		if unpackedDir, err = os.MkdirTemp("", "vmseal-kernels-"); err != nil {
			t.Fatal(err)
		}
	}
	k.vmlinux = filepath.Join(unpackedDir, filepath.Base(path))
	if err := os.WriteFile(k.vmlinux, elf, 0o600); err != nil {
		t.Fatal(err)
	}
	unpackedAll[path] = k
	return k
}

// elf reads the ELF file.
func (k *unpacked) elf(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(k.vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// eachKernel runs a test for one kernel of each series, one after the other.
func eachKernel(t *testing.T, test func(t *testing.T, k *unpacked)) {
	for _, path := range kernels(t, findFew) {
		t.Run(releaseOf(path), func(t *testing.T) { test(t, unpack(t, path)) })
	}
}

func releaseOf(path string) string { return strings.TrimPrefix(filepath.Base(path), "vmlinuz-") }

// TestKernelFiles makes profiles of every kernel, and unpacks them as scripts/extract-vmlinux
// does: by looking for what each tool begins its output with, and trying.
func TestKernelFiles(t *testing.T) {
	tools := map[string][]string{
		"\xfd7zXZ\x00":     {"xz", "-dc", "--single-stream"},
		"\x02\x21\x4c\x18": {"lz4", "-dc"},
		"\x28\xb5\x2f\xfd": {"zstd", "-dc"},
	}
	test := func(t *testing.T, path string) {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		elf, err := vmlinux(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Profile(file, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want := releaseOf(path); p.Release != want {
			t.Errorf("release %s, want %s", p.Release, want)
		}
		checkSeries(t, p)
		for magic, command := range tools {
			tool(t, command[0])
			for at := 0; ; at++ {
				n := bytes.Index(file[at:], []byte(magic))
				if n < 0 {
					break
				}
				at += n
				cmd := exec.Command(command[0], command[1:]...)
				cmd.Stdin = bytes.NewReader(file[at:])
				out, _ := cmd.Output() // complains of what lies behind
				if bytes.HasPrefix(out, elf) && len(elf) > 1<<20 {
					return
				}
			}
		}
		t.Errorf("no tool finds the same kernel in %s", path)
	}
	for _, path := range kernels(t, findKernels) {
		t.Run(releaseOf(path), func(t *testing.T) { test(t, path) })
	}
}

// checkSeries: what is told from the file is what came with a release, as far as stable series have not got it earlier.
func checkSeries(t *testing.T, p *profile.Profile) {
	t.Helper()
	var major, minor int
	if _, err := fmt.Sscanf(p.Release, "%d.%d.", &major, &minor); err != nil {
		t.Fatal(err)
	}
	since := func(a, b int) bool { return major > a || major == a && minor >= b }
	appraise := p.Hooks["ima_appraise_measurement"].Prototype
	for what, c := range map[string]struct{ is, want bool }{
		"struct ima_iint_cache":    {strings.Contains(appraise, "struct ima_iint_cache"), since(6, 9)},
		"bprm_is_check":            {strings.Contains(appraise, "bprm_is_check"), since(6, 19)},
		"blkdev_mmap_prepare":      {p.Values.AreaArgument == 0, since(6, 17)},
		"algo":                     {p.Values.DigsigAlgo, since(7, 1)},
		"CONFIG_IMA_WRITE_POLICY":  {built(p).KeepsPolicy, false}, // Debian sets neither that nor the other
		"CONFIG_IMA_READ_POLICY":   {built(p).ReadPolicy, false},
		"CONFIG_X86_KERNEL_IBT":    {built(p).IBT, since(6, 12)},
		"CONFIG_MODULE_DECOMPRESS": {built(p).ModuleDecompress, since(6, 12)},
	} {
		if c.is != c.want {
			t.Errorf("%s: %v, want %v", what, c.is, c.want)
		}
	}
}

// TestKernelTypes compares with what pahole, which made the BTF, reads from it.
func TestKernelTypes(t *testing.T) {
	tool(t, "pahole")
	tool(t, "pfunct")
	tool(t, "readelf")
	eachKernel(t, func(t *testing.T, k *unpacked) {
		vmlinux, p := k.vmlinux, k.profile
		said := map[string]string{} // by the words of the command: each reads all of the BTF
		run := func(name string, args ...string) string {
			words := name + " " + strings.Join(args, " ")
			if _, ok := said[words]; !ok {
				out, err := exec.Command(name, append(args, vmlinux)...).Output()
				if err != nil {
					t.Fatalf("%s: %v", words, err)
				}
				said[words] = string(out)
			}
			return said[words]
		}
		for member, offset := range fields[uint32](&p.Offsets) {
			structure, name, _ := strings.Cut(member, ".")
			if structure == "blkdev_mmap" {
				structure, name = "vm_area_struct", "vm_flags"
				if p.Values.AreaArgument == 0 {
					structure, name = "vm_area_desc", "vma?_flags"
				}
			}
			text := run("pahole", "-F", "btf", "-C", structure)
			m := regexp.MustCompile(`(?m)^\t{1,3}\S.*[ *]` + name + `(?:\[\d+\])?; +/\* +(\d+) +\d+ \*/$`).FindStringSubmatch(text)
			if m == nil || m[1] != fmt.Sprint(*offset) {
				t.Errorf("%s: %d, pahole has %q", member, *offset, m)
			}
		}
		values := map[string]uint32{
			"integrity_status INTEGRITY_PASS": p.Values.IntegrityPass, "integrity_status INTEGRITY_FAIL": p.Values.IntegrityFail,
			"system_states SYSTEM_RUNNING": p.Values.SystemRunning, "lockdown_reason LOCKDOWN_INTEGRITY_MAX": p.Values.LockIntegrity,
		}
		for name, n := range p.Values.Funcs {
			values["ima_hooks "+name] = n
		}
		for key, n := range values {
			enum, name, _ := strings.Cut(key, " ")
			m := regexp.MustCompile(`(?m)^\t` + name + ` += (\d+),$`).FindStringSubmatch(run("pahole", "-F", "btf", "-C", enum))
			if m == nil || m[1] != fmt.Sprint(n) {
				t.Errorf("%s: %d, pahole has %q", key, n, m)
			}
		}
		m := regexp.MustCompile(`(?m)/\* size: (\d+),`).FindStringSubmatch(run("pahole", "-F", "btf", "-C", "cpumask"))
		if m == nil || m[1] != fmt.Sprint(p.Values.CPUMask) {
			t.Errorf("struct cpumask: %d bytes, pahole has %q", p.Values.CPUMask, m)
		}
		for _, h := range p.Hooks {
			name := hookedBy(h)
			text := run("pfunct", "-F", "btf", "-P", "-f", name)
			if want := squeeze(h.Prototype + ";"); squeeze(text) != want {
				t.Errorf("%s, pfunct has %s", want, squeeze(text))
			}
		}
		if notes := run("readelf", "-n"); !strings.Contains(notes, "Build ID: "+p.BuildID+"\n") {
			t.Errorf("build id %s, readelf has\n%s", p.BuildID, notes)
		}
	})
}

// TestKernelHold disassembles the entry of sched_init, and asks the BTF, in which pahole
// has put the variables of each CPU too, for the other thing that Xen needs.
func TestKernelHold(t *testing.T) {
	tool(t, "objdump")
	eachKernel(t, func(t *testing.T, u *unpacked) {
		vmlinux, p := u.vmlinux, u.profile
		k, err := newBuilder(u.elf(t))
		if err != nil {
			t.Fatal(err)
		}
		entry, fentry := k.symbols.byName["sched_init"][0].addr, k.symbols.byName["__fentry__"][0].addr
		out, err := exec.Command("objdump", "-d", fmt.Sprintf("--start-address=%#x", entry),
			fmt.Sprintf("--stop-address=%#x", p.Hold.Address+64), vmlinux).Output()
		if err != nil {
			t.Fatal(err)
		}
		// An ENDBR64 perhaps, the call, and where the guest is held an instruction.
		want := fmt.Sprintf(`(?m)^%x:(.*\sendbr64\s*\n)?.*\scall +%#x\s*\n%x:\t`, entry, fentry, p.Hold.Address)
		if !regexp.MustCompile(want).Match(out) {
			t.Fatalf("held at %#x before %x, objdump has\n%s", p.Hold.Address, p.Hold.Code, out)
		}
		if code := dump(t, vmlinux, p.Hold.Address, profile.HoldSize); code != hex.EncodeToString(p.Hold.Code) {
			t.Errorf("%x at %#x, objdump has %s", p.Hold.Code, p.Hold.Address, code)
		}
		var area *btf.Datasec
		if err := k.types.spec.TypeByName(".data..percpu", &area); err != nil {
			t.Fatal(err)
		}
		for _, v := range area.Vars {
			if v.Type.TypeName() != "xen_vcpu_info" {
				continue
			}
			if uint64(v.Offset)+perCPUStart(t, k.image) != p.Variables.XenVCPUInfo || declare(v.Type.(*btf.Var).Type, "") != "struct vcpu_info" {
				t.Errorf("xen_vcpu_info at %#x, pahole has %+v", p.Variables.XenVCPUInfo, v)
			}
			return
		}
		t.Errorf("pahole has no xen_vcpu_info, the profile %#x", p.Variables.XenVCPUInfo)
	})
}

// perCPUStart is from where on the places of variables that each CPU has are counted: 0 before 6.15.
func perCPUStart(t *testing.T, m *image) uint64 {
	t.Helper()
	s, err := readSymbols(m, []string{"__per_cpu_start"})
	if err != nil {
		t.Fatal(err)
	}
	start, err := s.addr("__per_cpu_start")
	if err != nil {
		t.Fatal(err)
	}
	return start
}

// TestKernelMapping disassembles remap_file_pages, in which the call of the hook has to be where objdump sees one.
// Without that call the same kernel is refused.
func TestKernelMapping(t *testing.T) {
	tool(t, "objdump")
	eachKernel(t, func(t *testing.T, u *unpacked) {
		k, err := newBuilder(u.elf(t))
		if err != nil {
			t.Fatal(err)
		}
		all, err := kallsyms(k.image.section(".rodata"), k.image.sectionAddr(".rodata"), func(byte, []byte) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		at := func(name string) int { return slices.IndexFunc(all, func(s symbol) bool { return s.name == name }) }
		entry, hook := at("__do_sys_remap_file_pages"), at("security_mmap_file")
		out, err := exec.Command("objdump", "-d", fmt.Sprintf("--start-address=%#x", all[entry].addr),
			fmt.Sprintf("--stop-address=%#x", all[entry+1].addr), u.vmlinux).Output()
		if err != nil {
			t.Fatal(err)
		}
		calls := regexp.MustCompile(fmt.Sprintf(`(?m)^([0-9a-f]+):.*\scall +%#x\s*$`, all[hook].addr)).FindAllStringSubmatch(string(out), -1)
		if len(calls) == 0 {
			t.Fatalf("objdump sees no call of %#x in\n%s", all[hook].addr, out)
		}
		if err := k.mapping(nil); err != nil {
			t.Fatal(err)
		}
		for _, call := range calls {
			addr, err := strconv.ParseUint(call[1], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			code, err := k.image.read(addr, callSize)
			if err != nil {
				t.Fatal(err)
			}
			copy(code, nop5)
		}
		var mapping *MappingError
		if err := k.mapping(nil); !errors.As(err, &mapping) || !strings.Contains(err.Error(), "remap_file_pages") {
			t.Errorf("without the call: %v", err)
		}
	})
}

// dump reads code with objdump, in hexadecimal.
func dump(t *testing.T, vmlinux string, at uint64, n int) string {
	t.Helper()
	out, err := exec.Command("objdump", "-s", fmt.Sprintf("--start-address=%#x", at), fmt.Sprintf("--stop-address=%#x", at+uint64(n)), vmlinux).Output()
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(fmt.Sprintf(`(?m)^ %x ((?:[0-9a-f]+ )+) `, at)).FindSubmatch(out)
	if m == nil {
		t.Fatalf("%s", out)
	}
	return strings.ReplaceAll(string(m[1]), " ", "")
}

// hookedBy is the function that a hook is of.
func hookedBy(h profile.Hook) string {
	return regexp.MustCompile(`(\w+)\(`).FindStringSubmatch(h.Prototype)[1]
}

// squeeze takes the spaces out that C has no need of.
func squeeze(c string) string {
	c = strings.Join(strings.Fields(c), " ")
	return strings.ReplaceAll(c, "* ", "*")
}

// TestRunningKernels boots real kernels, and compares with what they say.
func TestRunningKernels(t *testing.T) {
	tool(t, "qemu-system-x86_64")
	kernels(t, findFew) // before anything is built
	initrd := withFile(t, makeInitrd(t), "symbols", []byte(strings.Join(symbolNames, "\n")))
	eachKernel(t, func(t *testing.T, k *unpacked) {
		p := k.profile
		var list strings.Builder
		for _, f := range p.Code {
			fmt.Fprintf(&list, "%d %d %s\n", f.Address-p.Text, f.Size, f.Name)
		}
		r := boot(t, k.path, withFile(t, initrd, "code", []byte(list.String())))
		if got := r.files["/proc/version"]; got != p.Banner {
			t.Errorf("banner %q, the kernel has %q", p.Banner, got)
		}
		if got := r.files["/proc/sys/kernel/osrelease"]; got != p.Release+"\n" {
			t.Errorf("release %q, the kernel has %q", p.Release, got)
		}
		if got := r.files["/sys/kernel/notes"]; !strings.Contains(got, string(fakekernel.Note("GNU", noteBuildID, unhex(t, p.BuildID)))) {
			t.Errorf("build id %s, the kernel has %q", p.BuildID, got)
		}
		text := one(t, r, "_text")
		moved := text.addr - p.Text
		if moved == 0 {
			t.Log("the kernel was not moved this time")
		}
		variables := maps.Collect(fields[uint64](&p.Variables))
		variables["_etext"] = &p.TextEnd
		for name, addr := range variables {
			want := *addr + moved
			if name == perCPU && *addr < maxPerCPU {
				want = *addr // which is not moved; from 6.15 on it lies in the image of the kernel
			}
			if got := one(t, r, name); got.addr != want {
				t.Errorf("%s: %#x + %#x, the kernel has %#x", name, *addr, moved, got.addr)
			}
		}
		// Behind the entry of sched_init, or of its ENDBR64; the code itself is gone by now.
		if distance := p.Hold.Address + moved - one(t, r, "sched_init").addr; distance != 5 && distance != 9 {
			t.Errorf("held %d bytes behind sched_init", distance)
		}
		for _, h := range p.Hooks {
			name := hookedBy(h)
			got := one(t, r, name)
			distance := h.Address + moved - got.addr
			if distance != 0 && distance != 4 || len(got.bytes) < 9 || !bytes.Equal(got.bytes[distance:][:5], h.Bytes) {
				t.Errorf("%s: %x at %#x + %#x, the kernel has %x at %#x", name, h.Bytes, h.Address, moved, got.bytes, got.addr)
			}
		}
		if got := one(t, r, "system_state").bytes; strconv.Itoa(int(got[0])) != fmt.Sprint(p.Values.SystemRunning) {
			t.Errorf("system_state %d, the kernel has %x", p.Values.SystemRunning, got)
		}
		checkChanges(t, p, r)
	})
}

// checkChanges: what a kernel changed of its code is left out, and it changed all that is.
func checkChanges(t *testing.T, p *profile.Profile, r running) {
	t.Helper()
	for i, f := range p.Code {
		before, after := r.before[i], r.after[i]
		if len(before) != int(f.Size) || len(after) != int(f.Size) {
			t.Fatalf("%s: %d and %d bytes, want %d", f.Name, len(before), len(after), f.Size)
		}
		left := make([]bool, f.Size)
		for _, s := range f.Patched {
			end := s.At + s.Size
			if bytes.Equal(before[s.At:end], after[s.At:end]) {
				t.Errorf("%s: %d bytes at %d are left out, and did not change: %x", f.Name, s.Size, s.At, before[s.At:end])
			}
			for at := s.At; at < end; at++ {
				left[at] = true
			}
		}
		for at := range left {
			if before[at] != after[at] && !left[at] {
				t.Errorf("%s: the byte at %d was %#x and is %#x, which is not left out", f.Name, at, before[at], after[at])
			}
		}
	}
}

func one(t *testing.T, r running, name string) runningSymbol {
	t.Helper()
	if len(r.symbols[name]) != 1 {
		t.Fatalf("the kernel has %d symbols %s", len(r.symbols[name]), name)
	}
	return r.symbols[name][0]
}
