// Command guest is what a kernel starts to tell about itself. /symbols has names of
// symbols, one a line; it prints all that kallsyms has of them, with the first bytes
// that lie at each. Then it prints the code of the functions that /code lists, has the
// kernel change what it can of it, and prints it again.
package main

import (
	"bufio"
	"debug/elf"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	err := tell()
	if err != nil {
		fmt.Println("error:", err)
	}
	syscall.Sync()
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

func tell() error {
	for _, m := range [][2]string{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := os.Mkdir(m[1], 0o755); err != nil && !os.IsExist(err) {
			return err
		}
		if err := syscall.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m[1], err)
		}
	}
	out, err := os.OpenFile("/dev/ttyS0", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	os.Stdout = out
	// Lines of the kernel itself would come in between.
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("1"), 0); err != nil {
		return err
	}
	for _, name := range []string{"/proc/version", "/proc/sys/kernel/osrelease", "/sys/kernel/notes"} {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Printf("\nguest file %s %x\n", name, b)
	}
	core, err := elf.Open("/proc/kcore")
	if err != nil {
		return err
	}
	names, err := os.ReadFile("/symbols")
	if err != nil {
		return err
	}
	text, err := symbols(core, strings.Fields(string(names)))
	if err != nil {
		return err
	}
	list, err := functions(text)
	if err != nil {
		return err
	}
	if err := printCode(core, list, "before"); err != nil {
		return err
	}
	if err := change(list); err != nil {
		return err
	}
	if err := printCode(core, list, "after"); err != nil {
		return err
	}
	fmt.Println("guest end")
	return nil
}

// symbols also gives the address of _text.
func symbols(core *elf.File, names []string) (text uint64, err error) {
	list, err := os.Open("/proc/kallsyms")
	if err != nil {
		return 0, err
	}
	scan := bufio.NewScanner(list)
	for scan.Scan() {
		field := strings.Fields(scan.Text()) // address, kind, name; a module behind it
		if len(field) != 3 || !slices.Contains(names, field[2]) {
			continue
		}
		addr, err := strconv.ParseUint(field[0], 16, 64)
		if err != nil {
			return 0, err
		}
		fmt.Printf("guest symbol %s %#x %x\n", field[2], addr, read(core, addr, 16))
		if field[2] == "_text" {
			text = addr
		}
	}
	return text, scan.Err()
}

// read gives the first bytes at an address.
func read(core *elf.File, addr uint64, n int) []byte {
	b := make([]byte, n)
	for _, p := range core.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			if _, err := p.ReadAt(b, int64(addr-p.Vaddr)); err == nil {
				return b
			}
		}
	}
	return nil
}
