package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"
)

// A function is a line of /code: distance from _text, size, name.
type function struct {
	addr uint64
	size int
	name string
}

// functions reads the list; there is none if there is no file.
func functions(text uint64) (list []function, err error) {
	b, err := os.ReadFile("/code")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for line := range strings.Lines(string(b)) {
		var f function
		if _, err := fmt.Sscanf(line, "%d %d %s", &f.addr, &f.size, &f.name); err != nil {
			return nil, err
		}
		f.addr += text
		list = append(list, f)
	}
	return list, err
}

// printCode prints the code of each function, by its place in the list.
func printCode(core *elf.File, list []function, when string) error {
	for i, f := range list {
		b := read(core, f.addr, f.size)
		if b == nil {
			return fmt.Errorf("the code of %s cannot be read", f.name)
		}
		fmt.Printf("guest code %s %d %x\n", when, i, b)
	}
	return nil
}

// change has the functions traced, the messages of one file switched on, and a second CPU
// started, for which the kernel puts back its lock prefixes.
func change(list []function) error {
	if list == nil {
		return nil
	}
	const tracing = "/sys/kernel/tracing"
	if err := syscall.Mount("tracefs", tracing, "tracefs", 0, ""); err != nil && err != syscall.EBUSY {
		return fmt.Errorf("mounting %s: %w", tracing, err)
	}
	for _, f := range list {
		err := add(path.Join(tracing, "set_ftrace_filter"), f.name)
		if err != nil && !errors.Is(err, syscall.EINVAL) { // parts of functions cannot be traced
			return err
		}
	}
	return errors.Join(
		add(path.Join(tracing, "current_tracer"), "function"),
		add("/proc/dynamic_debug/control", "file ima_fs.c +p"),
		add("/sys/devices/system/cpu/cpu1/online", "1"),
	)
}

// add writes to a file of the kernel as echo >> does.
func add(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	return errors.Join(err, f.Close())
}
