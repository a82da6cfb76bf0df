#include "textflag.h"

// func puppetCode() *[codeSize]byte
TEXT ·puppetCode(SB), NOSPLIT, $0-8
	LEAQ ·puppet(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// puppet makes the system calls of a table of steps one after the other, wherever its code lies. It needs no stack. R15 points
// to the first step (type step), R14 to a struct timespec, R13 to texts of 4 bytes for each error number. A step that fails
// ends it: its line goes to descriptor 0, with the text of the error at the end.
TEXT ·puppet(SB), NOSPLIT|NOFRAME, $0-0
next:
	MOVQ 0(R15), AX
	MOVQ 8(R15), DI
	MOVQ 16(R15), SI
	MOVQ 24(R15), DX
	MOVQ 32(R15), R10
	XORL R8, R8
	XORL R9, R9
	SYSCALL
	TESTQ AX, AX
	JLT failed
	ADDQ $64, R15
	JMP next
failed:
	CMPQ 40(R15), $0
	JEQ tell
	MOVL $35, AX // nanosleep(2)
	MOVQ R14, DI
	XORL SI, SI
	SYSCALL
	JMP next
tell:
	NEGQ AX
	MOVL (R13)(AX*4), BX
	MOVQ 48(R15), SI
	MOVQ 56(R15), DX
	MOVL BX, -4(SI)(DX*1)
	XORL DI, DI
	MOVL $1, AX // write(2)
	SYSCALL
stop:
	MOVL $34, AX // pause(2)
	SYSCALL
	JMP stop
