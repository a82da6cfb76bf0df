// Package kernel makes the profile of a Linux kernel for x86-64 from the file that
// is booted, vmlinuz or vmlinux. No debug package is needed: addresses come from
// the kernel's own symbol table (kallsyms), types from its BTF.
//
// Nothing is guessed. A name has exactly one symbol, a function the prototype that
// is known, a member the size that is expected, a hook the call that the kernel
// turns into a nop; else there is no profile, and the error tells why.
//
// What it relies on, in the source of Linux:
//
//	Documentation/arch/x86/boot.rst                the header of a bzImage
//	arch/x86/boot/compressed/{Makefile,mkpiggy.c}  its payload, and the size behind that
//	scripts/kallsyms.c, kernel/kallsyms.c          the symbol table
//	Documentation/bpf/btf.rst                      BTF, read by github.com/cilium/ebpf/btf
//	arch/x86/kernel/ftrace.c                       what lies at the entry of a function
//	kernel/jump_label.c, static_call_inline.c      where the kernel changes its own code
//	arch/x86/kernel/alternative.c                  the same, when it starts and for SMP
//	security/security.c                            what leads to the hooks of LSMs
//	security/lockdown/lockdown.c                   the level of lockdown
//	security/integrity/ima/ima_fs.c                whether the file of the policy stays
//
// A file may be anything: reading it takes bounded memory and time.
package kernel
