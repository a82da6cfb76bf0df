// Package enforcer enforces the signatures of a guest's files from outside the guest.
//
// It sets traps on functions of the guest kernel's integrity subsystem (IMA) and answers the
// calls that hit them. A trap is a hardware or software breakpoint on QEMU, and an intercepted
// instruction on Xen. The guest kernel hashes files and denies access. The keys are on the host,
// and the verdict is made there. The variable points lists each trapped function, when it is
// trapped, and what is decided there.
//
// The enforcer reads a function's arguments from the registers and the memory of the vCPU that
// hit the trap. It takes addresses and offsets from a signed formats/profile. To answer in place
// of the function, it sets rax, rip and rsp as if the function had returned. To let the function
// run, it continues behind the 5-byte nop at the function's entry. It never single-steps an
// instruction and never removes a trap to handle a hit, so no other vCPU can run past a trap.
//
// # Posture
//
// The posture is the state of the guest kernel that enforcement depends on: IMA is in enforce
// mode, a policy with appraisal is in force, kexec is disabled, and the kernel is locked down. The
// enforcer reads it with each hit and each heartbeat.
//
// # Fail closed
//
// The enforcer denies a file if it cannot read or does not recognize something about that file. If
// the guest itself cannot be trusted any more, the enforcer freezes it: Run returns a *FrozenError
// and the guest stands still. If the enforcer ends, the traps stay, and the next hit stops the
// guest.
//
// The package depends only on keys/trust, formats and the standard library. It must not grow: see
// TestTrustedBase.
//
// Sources: security/integrity/ima/ima_main.c (process_measurement), ima_appraise.c
// (ima_appraise_measurement, xattr_verify), ima_policy.c (ima_parse_add_rule,
// ima_update_policy), security/integrity/digsig.c and digsig_asymmetric.c, block/fops.c of Linux
// 6.1 to 7.3.
package enforcer
