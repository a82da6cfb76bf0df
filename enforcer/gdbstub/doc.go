// Package gdbstub is a guest.Guest over the gdb stub that QEMU has built in.
//
//	qemu-system-x86_64 -S -gdb unix:/run/vm.gdb,server=on,wait=off ...
//	qemu-system-x86_64 -S -chardev socket,id=gdb0,fd=3 -gdb chardev:gdb0 ...
//
// # Protocol
//
// The gdb remote serial protocol (gdb's manual, appendix E): packets $text#sum,
// where sum is the bytes' sum modulo 256 in hex. What matters of QEMU's side
// (gdbstub/gdbstub.c and softmmu/cpus.c of 7.2, gdbstub/system.c and system/cpus.c of 10 and 11) is this:
//
//   - While the guest runs, the first byte of what arrives stops it, and the packet that it begins is lost. So
//     each write begins with an empty packet, which a guest that stands still answers and one that
//     runs loses: the answer tells which it was. All that is in one write is executed without anybody coming between.
//   - A '+' is never sent: the stub does without acknowledgements.
//   - A stop is told by T05 (a trap) or another T (by the monitor, a watchdog, a full disk), with the thread of a
//     virtual CPU. g, P and m then are about that one. All virtual CPUs stand still. From QEMU 8.1 on there is one
//     such reply to each vCont;c and no more (allow_stop_reply): after the monitor's stop and cont the next hit is not told.
//     A guest that its host has paused is therefore asked about from time to time. If it runs it is stopped by
//     that, and resumed with a vCont;c of ours. One write has a question before vCont;c, so that news of earlier stops, which older versions
//     tell unasked, is known as such.
//   - Who has stopped a guest only QEMU's monitor knows, which the stub hands commands to (qRcmd): "info status" says debug
//     for a breakpoint. Another state that we have not made is its host's, who lets the guest go on.
//     The state and the registers are read, and the answer written, in one write. QEMU drops a stop by the monitor for a guest that stands at a
//     breakpoint, and tells nobody.
//   - Of two virtual CPUs that hit at once one is told of. The other has not executed
//     the instruction either, and hits again as soon as it runs.
//   - An end of time that wins against a hit hides it; the hit comes again. A breakpoint that QEMU notices and
//     a pause that ends at once leave a stop in state debug with no virtual CPU at a trap: it is let go on, once.
//   - A connection that ends leaves traps as they are and a stopped guest stopped; a
//     new one stops a running guest. '?' removes all traps and is never sent; D
//     removes them and lets the guest run, and is sent by Release alone.
//   - A connection begins with 03, an empty packet and qC, and all that comes before
//     the answer to qC is dropped: the notice that the new connection has stopped a
//     running guest, and what an unfinished packet of an earlier one leads to.
//   - To set a trap twice is an error with KVM, and with TCG makes two of them. So a
//     new connection, which does not know what the one before has set, removes each
//     trap in the same write that sets it. Traps at addresses that it does not name
//     stay, and a hit there is an error.
//   - P works only once the description of the registers was read. Memory is read in
//     pieces of at most 2048 bytes, through the page tables of the selected virtual
//     CPU. A piece of which one byte is not mapped is refused as a whole.
//   - The virtual CPUs are those that there are at the beginning: a stop of one that
//     was plugged in later is an error.
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
// A hit costs four exchanges: the registers, all memory that is asked for at once, and the
// registers of the answer are one each, and so is resuming the guest. A guest whose registers QEMU has not set is not resumed.
//
// # Trust
//
// The stub is QEMU, whose word is relied upon; but nothing that it may send makes
// this package panic, wait or grow without bound. After the first reply that does
// not fit, every further call fails: the guest stays stopped, and Freeze makes sure
// of that.
package gdbstub
