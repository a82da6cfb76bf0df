package gdbstub

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// commandLine is that of a process; empty if it cannot be read.
func commandLine(pid int32) []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.Split(string(text), "\x00")
}

// option gives what stands behind each option of that name on QEMU's command line.
func (g *Guest) option(name string) (values []string) {
	for i, word := range g.command {
		if (word == "-"+name || word == "--"+name) && i+1 < len(g.command) {
			values = append(values, g.command[i+1])
		}
	}
	return values
}

// Warnings tells what QEMU's command line leaves to root in the guest, or that it cannot be read.
func (g *Guest) Warnings() (all []string) {
	if len(g.command) < 2 {
		return []string{"QEMU's command line cannot be read: whether it has -no-reboot, and -cpu with svm=off,vmx=off, is not known"}
	}
	isShutdown := func(action string) bool { return strings.Contains(action, "reboot=shutdown") }
	if g.option("no-reboot") == nil && !slices.ContainsFunc(g.option("action"), isShutdown) {
		all = append(all, "QEMU was started without -no-reboot: a guest that reboots is not looked at anew, and with KASLR it runs past its traps then")
	}
	cpu := strings.Split(strings.Join(g.option("cpu"), ","), ",")
	off := func(flag string) bool { return slices.Contains(cpu, flag+"=off") || slices.Contains(cpu, "-"+flag) }
	if !off("svm") || !off("vmx") {
		all = append(all, "QEMU was started without svm=off,vmx=off behind -cpu: "+
			"on a CPU that has one of them root in the guest can run guests of its own, which can forge lines of the audit, but no verdicts")
	}
	return all
}
