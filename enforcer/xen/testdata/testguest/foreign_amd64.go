package main

// int3 executes a breakpoint, with p in RAX.
func int3(p *[8]byte)

// poke writes one byte.
func poke(p *[8]byte, v byte)

// execVectors calls execve(2) with in in the registers, and stores the registers in out when it
// returns.
func execVectors(path *byte, argv, envp **byte, in, out *vectors) (errno int64)

// holdVectors keeps in in the registers for the given number of turns of a loop, and stores them in
// out.
func holdVectors(in, out *vectors, turns int64)

// storeTables stores the registers of the descriptor tables.
func storeTables(t *tableRegisters)
