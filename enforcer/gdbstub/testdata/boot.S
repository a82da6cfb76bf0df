# Firmware for the tests: the processors enter 64-bit mode with the first 2 MiB and
# their APICs mapped, and call a function for ever.
#
#   as boot.S -o boot.o && ld -Ttext 0 --oformat binary boot.o -o boot.bin
	.code16
	cli
	xor	%ax, %ax
	mov	%ax, %es
	mov	$0x1000, %di		# page tables at 0x1000 to 0x4fff
	xor	%eax, %eax
	mov	$0x1000, %cx
	cld
	rep stosl
	movl	$0x2003, %es:0x1000
	movl	$0x3003, %es:0x2000
	movl	$0x4003, %es:0x2018
	movl	$0x83, %es:0x3000	# 0 to 0x1fffff
	movl	$0xfee00093, %es:0x4fb8	# the APIC
	movb	$0xea, %es:0x8000	# where others start: jmp f000:enter
	movw	$enter, %es:0x8001
	movw	$0xf000, %es:0x8003
enter:	mov	$0x20, %eax		# PAE
	mov	%eax, %cr4
	mov	$0x1000, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx	# EFER
	rdmsr
	or	$0x100, %eax		# LME
	wrmsr
	lgdtl	%cs:gdtr
	mov	%cr0, %eax
	or	$0x80000001, %eax	# PG, PE
	mov	%eax, %cr0
	ljmpl	$8, $0xf0000 + long
	.balign	8
gdt:	.quad	0, 0x00af9b000000ffff	# 64-bit code
gdtr:	.word	15
	.long	0xf0000 + gdt
	.balign	8
idt:	.quad	0, 0
	.word	debug, 8, 0x8e00, 0xf	# #DB
	.long	0, 0
idtr:	.word	31
	.quad	0xf0000 + idt

	.code64
long:	lidt	idtr(%rip)
	mov	$0xfee00000, %edx
	mov	0x20(%rdx), %ebx	# rbx: which processor this is
	shr	$24, %ebx
	incq	0x6300(,%rbx,8)		# how often it started
	mov	%rbx, %rsp
	neg	%rsp
	shl	$10, %rsp
	add	$0x7c00, %rsp
	movabs	$0x0123456789abcde0, %rbp
	lea	8(%rbp), %r8
	lea	15(%rbp), %r15
	test	%ebx, %ebx
	jnz	again
	movl	$0x1ff, 0xf0(%rdx)	# enable the APIC
others:	movl	$0xc4500, 0x300(%rdx)	# INIT to the others: KVM wants it before
	movl	$0xc4608, 0x300(%rdx)	# they start at 0x8000
again:	call	func
	add	%rax, 0x6200(,%rbx,8)	# the sum of what it returned
	incq	0x6000(,%rbx,8)		# how often it returned
	mov	%rax, %rcx
	and	$0xffffff, %ecx
	jz	again
2:	dec	%ecx			# time passes, as many steps
	jnz	2b
	jmp	again
	.balign	16
func:	.byte	0x0f, 0x1f, 0x44, 0, 0	# nop
	incq	0x6100(,%rbx,8)		# how often its body ran
	mov	$3, %eax
	ret

# What software inside does with the means of a debugger: for a processor that is sent here from func.
	.balign	16
step:	pushf				# single-step through func
	orl	$0x100, (%rsp)		# TF
	popf
	call	func
	pushf
	andl	$~0x100, (%rsp)
	popf
	jmp	again
	.balign	16
watch:	mov	%rax, %dr0		# stop at rax
	mov	%rax, %dr1
	mov	%rax, %dr2
	mov	%rax, %dr3
	mov	$0x4aa, %eax		# G0 to G3
	mov	%rax, %dr7
	mov	%dr0, %rax
	mov	%rax, 0x6600		# what it reads back
	mov	%dr7, %rax
	mov	%rax, 0x6608
	xor	%eax, %eax
	jmp	again
debug:	push	%rax
	mov	%dr6, %rax
	test	$0x4000, %eax		# BS
	jz	1f
	incq	0x6400(,%rbx,8)		# how many steps
1:	test	$0xf, %al		# B0 to B3
	jz	2f
	incq	0x6500(,%rbx,8)		# how often at a breakpoint
	orl	$0x10000, 24(%rsp)	# RF: go on behind it
2:	xor	%eax, %eax
	mov	%rax, %dr6
	pop	%rax
	iretq
	.balign	16
end:
