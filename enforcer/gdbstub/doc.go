// Package gdbstub is a guest.Guest over the gdb stub that QEMU has built in.
//
//	qemu-system-x86_64 -S -gdb unix:/run/vm.gdb,server=on,wait=off ...
//	qemu-system-x86_64 -S -chardev socket,id=gdb0,fd=3 -gdb chardev:gdb0 ...
//
// # Protocol
//
// The gdb remote serial protocol (gdb's manual, appendix E): packets $text#sum,
// where sum is the bytes' sum modulo 256 in hex. What matters of QEMU's side
// (gdbstub/gdbstub.c and softmmu/cpus.c of 7.2) is this:
//
//   - While the guest runs, any byte that arrives stops it. So nothing is sent
//     behind vCont;c, and never a '+': the stub does without acknowledgements.
//   - A stop is told by T05 (a trap), T02 (stopped by a byte, or by the monitor: then it is waited for), T03
//     (shut down) and others, with the thread of a virtual CPU. g, P and m then are
//     about that one. All virtual CPUs stand still.
//   - Of two virtual CPUs that hit at once one is told of. The other has not executed
//     the instruction either, and hits again as soon as it runs.
//   - The byte 03 is ignored by a stopped guest. An interrupt that comes too late
//     therefore does nothing, and one that wins against a hit is answered with T02;
//     the hit comes again. There is one reply to each vCont;c, whoever wins.
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
// # Cost
//
// A hit costs four exchanges: the registers, all memory that is asked for at once, and the
// registers of the answer are one each, and so is resuming the guest, the reply to which is left for
// the next stop. A guest whose registers QEMU has not set is not resumed.
//
// # Trust
//
// The stub is QEMU, whose word is relied upon; but nothing that it may send makes
// this package panic, wait or grow without bound. After the first reply that does
// not fit, every further call fails: the guest stays stopped, and Freeze makes sure
// of that.
package gdbstub
