#include "textflag.h"

// Offsets in vectors.
#define X87 512
#define MXCSR 520
#define FCW 524

#define LOAD(R) \
	VMOVDQU 0(R), Y0; \
	VMOVDQU 32(R), Y1; \
	VMOVDQU 64(R), Y2; \
	VMOVDQU 96(R), Y3; \
	VMOVDQU 128(R), Y4; \
	VMOVDQU 160(R), Y5; \
	VMOVDQU 192(R), Y6; \
	VMOVDQU 224(R), Y7; \
	VMOVDQU 256(R), Y8; \
	VMOVDQU 288(R), Y9; \
	VMOVDQU 320(R), Y10; \
	VMOVDQU 352(R), Y11; \
	VMOVDQU 384(R), Y12; \
	VMOVDQU 416(R), Y13; \
	VMOVDQU 448(R), Y14; \
	VMOVDQU 480(R), Y15; \
	LDMXCSR MXCSR(R); \
	FLDCW FCW(R); \
	FMOVV X87(R), F0

// STORE stores the registers and resets them to what Go expects.
#define STORE(R) \
	VMOVDQU Y0, 0(R); \
	VMOVDQU Y1, 32(R); \
	VMOVDQU Y2, 64(R); \
	VMOVDQU Y3, 96(R); \
	VMOVDQU Y4, 128(R); \
	VMOVDQU Y5, 160(R); \
	VMOVDQU Y6, 192(R); \
	VMOVDQU Y7, 224(R); \
	VMOVDQU Y8, 256(R); \
	VMOVDQU Y9, 288(R); \
	VMOVDQU Y10, 320(R); \
	VMOVDQU Y11, 352(R); \
	VMOVDQU Y12, 384(R); \
	VMOVDQU Y13, 416(R); \
	VMOVDQU Y14, 448(R); \
	VMOVDQU Y15, 480(R); \
	STMXCSR MXCSR(R); \
	FSTCW FCW(R); \
	FMOVVP F0, X87(R); \
	FINIT; \
	LDMXCSR usual<>(SB); \
	VZEROUPPER

DATA usual<>(SB)/4, $0x1f80 // MXCSR
GLOBL usual<>(SB), RODATA, $4

// func int3(p *[8]byte)
TEXT ·int3(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	BYTE $0xcc
	RET

// func poke(p *[8]byte, v byte)
TEXT ·poke(SB), NOSPLIT, $0-9
	MOVQ p+0(FP), AX
	MOVB v+8(FP), CX
	MOVB CX, (AX)
	RET

// func execVectors(path *byte, argv, envp **byte, in, out *vectors) (errno int64)
TEXT ·execVectors(SB), NOSPLIT, $0-48
	MOVQ path+0(FP), DI
	MOVQ argv+8(FP), SI
	MOVQ envp+16(FP), DX
	MOVQ in+24(FP), R8
	MOVQ out+32(FP), R9
	LOAD(R8)
	MOVL $59, AX // SYS_execve
	SYSCALL
	STORE(R9)
	MOVQ AX, errno+40(FP)
	RET

// func holdVectors(in, out *vectors, turns int64)
TEXT ·holdVectors(SB), NOSPLIT, $0-24
	MOVQ in+0(FP), R8
	MOVQ out+8(FP), R9
	MOVQ turns+16(FP), CX
	LOAD(R8)
turn:
	DECQ CX
	JNZ turn
	STORE(R9)
	RET

// func storeTables(t *tableRegisters)
TEXT ·storeTables(SB), NOSPLIT, $0-8
	MOVQ t+0(FP), DI
	BYTE $0x0f; BYTE $0x01; BYTE $0x07             // sgdt (%rdi)
	BYTE $0x0f; BYTE $0x01; BYTE $0x4f; BYTE $10   // sidt 10(%rdi)
	BYTE $0x0f; BYTE $0x00; BYTE $0x47; BYTE $20   // sldt 20(%rdi)
	BYTE $0x0f; BYTE $0x00; BYTE $0x4f; BYTE $22   // str 22(%rdi)
	XORL AX, AX
	BYTE $0x0f; BYTE $0x00; BYTE $0xc0             // sldt %eax
	MOVQ AX, 24(DI)
	XORL AX, AX
	BYTE $0x0f; BYTE $0x00; BYTE $0xc8             // str %eax
	MOVQ AX, 32(DI)
	RET
