package main

// int3 executes a breakpoint, with p in RAX.
func int3(p *[8]byte)

// poke writes one byte.
func poke(p *[8]byte, v byte)

// execVectors calls execve(2) with in in the registers, and tells what is in them when it
// returns.
func execVectors(path *byte, argv, envp **byte, in, out *vectors) (errno int64)

// holdVectors keeps in in the registers for so many turns of a loop.
func holdVectors(in, out *vectors, turns int64)

// storeTables stores what the processor says.
func storeTables(t *tableRegisters)
