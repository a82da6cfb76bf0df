package gdbstub

import (
	"cmp"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// accelerator is what QEMU runs the firmware with: VMSEAL_ACCEL (kvm), or its own emulation.
func accelerator() string { return cmp.Or(os.Getenv("VMSEAL_ACCEL"), "tcg") }

// interpreted tells whether KVM runs the firmware in its instruction emulator (arch/x86/kvm/emulate.c), as PVM does with all
// that was not made for it. The probe: every other KVM needs VMX or SVM, and here the processor has neither.
var interpreted = sync.OnceValue(func() bool {
	info, err := os.ReadFile("/proc/cpuinfo")
	flags := strings.Fields(string(info))
	return accelerator() == "kvm" && err == nil && !slices.Contains(flags, "vmx") && !slices.Contains(flags, "svm")
})

// needTrap leaves out what the emulator of KVM cannot do: "protected mode interrupts unimplemented yet" (emulate_int).
func needTrap(t testing.TB, trap Trap) {
	if trap == Software && interpreted() {
		t.Skip("KVM without VMX and SVM (PVM) executes the firmware in its emulator, which has no int3")
	}
}

// pastime is how often the firmware goes round its loop: that emulator takes tens of microseconds for each.
func pastime(most uint64) uint64 {
	if interpreted() {
		most /= 100
	}
	return rand.N(most)
}
