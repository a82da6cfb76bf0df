//go:build amd64

// Command probe is what guest root would write to get round an enforcement. Each of its commands tries one thing with bare system
// calls, prints "done" or the name of the error, and exits with 0 if it was let, 1 if it was refused, 2 if it was called
// wrongly.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// attempt is one command: how many arguments it takes at least, and what it does.
type attempt struct {
	usage string
	args  int
	do    func(args []string) error
}

var attempts = map[string]attempt{
	"container":       {"FOLDER FILE ARG...: execute FILE in mount and process namespaces of its own, with FOLDER as the root", 2, container},
	"memfd":           {"FILE ARG...: execute a copy of FILE that has no name", 1, memfd},
	"init-module":     {"FILE", 1, initModule},
	"finit-module":    {"FILE...", 1, finitModule},
	"mmap-exec":       {"FILE: map it executable", 1, mmapExec},
	"mprotect-exec":   {"FILE: map it readable, then make that executable", 1, mprotectExec},
	"write-exec":      {"FILE: change it through a shared mapping that stays, then map it executable", 1, writeExec},
	"write-mapped":    {"FILE: map it executable, then write to it; done if the mapping changed", 1, writeMapped},
	"jump":            {"ADDRESS: call it in user mode; says which signal that ended with", 1, jump},
	"jump-child":      {"", 1, jumpChild},
	"vector":          {"until SIGTERM: add in all vector registers, and check the sums", 0, vector},
	"ima-keyring":     {"CERT...: make a keyring _ima with these certificates (DER), and look whether it is found", 0, imaKeyring},
	"kexec-load":      {"load an empty kernel", 0, kexecLoad},
	"kexec-file-load": {"KERNEL INITRD CMDLINE", 3, kexecFileLoad},
	"policy":          {"FILE: write its lines to IMA's policy", 1, policy},
	"policy-path":     {"FILE: give its path to IMA's policy", 1, policyPath},
	"copy":            {"FILE TO: copy contents, mode and extended attributes", 2, copyFile},
	"label":           {"FILE TO: give TO the signature of FILE", 2, label},
	"verity":          {"FILE: enable fs-verity", 1, enableVerity},
	"exchange-disk":   {"virtio|scsi SYSTEM OTHER NUMBER: have disk OTHER take the place of disk SYSTEM, and execute probe there", 4, exchangeDisk},
	"exchanged":       {"", 0, exchanged},
	"mmap-read":       {"FILE: map it readable and look at it", 1, mmapRead},
	"direct-read":     {"FILE: read it with O_DIRECT", 1, directRead},
	"uring-read":      {"FILE: open it through io_uring", 1, uringRead},
	"sendfile":        {"FILE: send it into a pipe", 1, sendFile},
	"interpret":       {"FILE: ask, as an interpreter does, whether what is in it may be executed (AT_EXECVE_CHECK)", 1, interpret},
	"fentry":          {"FUNCTION PIPE: run a BPF program with each call of it, until something is written to PIPE", 2, fentry},
}

func main() {
	if len(os.Args) < 2 || len(os.Args)-2 < attempts[os.Args[1]].args || attempts[os.Args[1]].do == nil {
		usage()
		os.Exit(2)
	}
	err := attempts[os.Args[1]].do(os.Args[2:])
	if err == nil {
		fmt.Println("done")
		return
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		fmt.Println(unix.ErrnoName(errno))
	}
	fmt.Println(err)
	os.Exit(1)
}

func usage() {
	names := make([]string, 0, len(attempts))
	for name := range attempts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if u := attempts[name].usage; u != "" {
			fmt.Fprintf(os.Stderr, "probe %s %s\n", name, u)
		}
	}
}
