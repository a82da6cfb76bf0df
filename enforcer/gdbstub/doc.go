// Package gdbstub implements guest.Guest with the gdb stub that is built into QEMU.
//
//	qemu-system-x86_64 -S -gdb unix:/run/vm.gdb,server=on,wait=off ...
//	qemu-system-x86_64 -S -chardev socket,id=gdb0,fd=3 -gdb chardev:gdb0 ...
//
// # Protocol
//
// The protocol is the gdb remote serial protocol (gdb's manual, appendix E). A packet is $text#sum,
// where sum is the sum of the bytes modulo 256 in hex. These facts about QEMU matter
// (gdbstub/gdbstub.c and softmmu/cpus.c of 7.2, gdbstub/system.c and system/cpus.c of 10 and 11):
//
//   - While the guest runs, the first byte that arrives stops it, and the packet that begins with
//     this byte is lost. So each write begins with an empty packet. A stopped guest answers it, and a
//     running guest loses it, so the reply shows whether the guest was running. QEMU executes all
//     packets of one write without anything in between.
//   - The package never sends '+': the stub works without acknowledgements.
//   - The stub reports a stop with T05 (a trap) or another T packet (the monitor, a watchdog, a full
//     disk) and the thread of a vCPU. After that, g, P and m are about this vCPU. All vCPUs are
//     stopped. Since QEMU 8.1 there is at most one such reply to each vCont;c (allow_stop_reply): after
//     the monitor's stop and cont, the next hit is not reported. So while the host has paused the guest,
//     the package polls it. A poll stops a guest that runs again, and the package resumes it with
//     a vCont;c of its own. A write that contains vCont;c has a question before it. Older versions report
//     stops unasked; a report before the answer to the question is about an earlier stop.
//   - Only QEMU's monitor knows who stopped a guest. The stub passes commands to it (qRcmd): "info
//     status" says debug for a breakpoint. Any other state that this package did not cause comes from
//     the host, which then decides when the guest continues. One write reads the state, reads the
//     registers and writes the answer. QEMU silently ignores the monitor's stop for a guest that is
//     stopped at a breakpoint.
//   - If two vCPUs hit at once, one hit is reported. The other vCPU has not executed its instruction
//     either, and hits again as soon as it runs.
//   - If the time limit ends just before a hit is reported, the hit is not reported, and happens again.
//     If a pause ends at once while QEMU handles a breakpoint, the state is debug, but no vCPU is at a
//     trap. The package then resumes the guest once.
//   - When a connection ends, traps stay and a stopped guest stays stopped. A new connection stops a
//     running guest. '?' removes all traps and is never sent. D removes them and lets the guest run;
//     only Release sends it.
//   - A connection begins with 03, an empty packet and qC. Everything before the answer to qC is
//     ignored: the report that the new connection stopped a running guest, and replies to an
//     incomplete packet of an earlier connection.
//   - Setting a trap twice is an error with KVM, and sets two traps with TCG. A new connection does not
//     know which traps are set, so it removes each trap in the same write that sets it. Traps at other
//     addresses stay, and a hit of one of them is an error.
//   - P works only after the description of the registers was read. Memory is read in pieces of at
//     most 2048 bytes through the page tables of the selected vCPU. If one byte of a piece is not
//     mapped, the whole piece fails.
//   - The list of vCPUs is read when the connection begins. A stop of a vCPU that was plugged in later
//     is an error.
//
// # KVM
//
// With accel=kvm the stub is the same, and what makes a trap is another (accel/kvm/kvm-all.c and target/i386/kvm/kvm.c of QEMU 7.2,
// arch/x86/kvm of Linux). TestSteps, TestBreakpoints, TestSamePlace, TestReset, TestInit and TestFifth are about this, and
// run with QEMU's emulation, too.
//
//   - A hardware trap is a breakpoint register of the processor, which KVM loads with ours instead of the guest's (KVM_SET_GUEST_DEBUG)
//     while there is a trap. There are four, and the fifth trap is refused. A guest that writes its debug
//     registers reads back what it wrote, and changes nothing of ours. Its own breakpoints and watchpoints rest until
//     the last trap is removed, but for those that KVM's instruction emulator comes to: some kernels look at both there.
//   - A #DB that is not ours, behind a single step of the guest's own software, goes to QEMU, which gives it to the guest
//     (kvm_handle_debug). So does one that is a step and a breakpoint at once: the instruction with the trap was not executed,
//     and is a hit when the guest comes back to it.
//   - A processor passes a breakpoint while RF is set in its flags (Intel's manual, on instruction breakpoints). Only iret sets it, so it takes code in the
//     guest's kernel to come past a trap that way. QEMU's emulation does not look at RF for our traps.
//   - Where the guest has a breakpoint of its own at the place of our trap, each call is a hit. QEMU's emulation gives the guest its #DB there, again
//     and again, and neither the instruction nor the hit comes until the guest takes its breakpoint away.
//   - Breakpoints are a property of each virtual CPU, and outlive INIT and a reset of the machine. One that is plugged in
//     has none, as with the emulation.
//   - A software trap writes int3 into the guest's memory. It is for the emulation, which does not.
//   - The registers are KVM's while a virtual CPU runs, and QEMU's from g on until it runs again. P and p are about QEMU's and take nothing over
//     themselves, so that g comes before them in the same write (Answer, TestPaused): what P writes would be thrown away.
//   - Where KVM meets an instruction that it has to emulate and does not know, QEMU stops the guest as "internal-error": for this package that is
//     a pause by the host, which only a reset ends.
//   - A virtual CPU that waits to be started wants INIT before SIPI, as processors do. QEMU's emulation does without.
//
// # Cost
//
// A hit costs four exchanges: reading the registers, reading any amount of memory, writing the
// registers of the answer, and resuming the guest. The guest is resumed only after QEMU has set all
// registers.
//
// # Trust
//
// The stub is part of QEMU, and the package trusts what QEMU says. But nothing that QEMU sends can make
// the package panic, wait forever, or use unbounded memory. After the first unexpected reply all
// further calls fail: the guest stays stopped, and Freeze makes sure of that.
package gdbstub
