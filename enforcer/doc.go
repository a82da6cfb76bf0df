// Package enforcer enforces the signatures of a guest's files from outside the guest.
//
// It plants traps on functions of the guest kernel's integrity subsystem and answers for
// them. The guest hashes and denies; the keys and the verdict are here. What is trapped when,
// and what is decided there, stands in one table: see points.
//
// A kernel function's arguments are read from the registers and memory of the
// virtual CPU that hit the trap, by the addresses and offsets of a signed
// formats/profile. The answer is given by setting rax, rip and rsp as though the
// function had returned; a function that is to run goes on behind the 5-byte nop
// at its entry. No instruction is stepped and no trap is taken away for a hit, so
// that no other virtual CPU slips by.
//
// # Fail closed
//
// What cannot be read, is not known or should not be is denied; what must not
// happen at all freezes the guest: Run returns a *FrozenError and the guest stands
// still. If this process ends, the next hit stops the guest.
//
// The package rests on keys/trust, formats and the standard library alone. It must not
// grow: see TestTrustedBase.
//
// Sources: security/integrity/ima/ima_main.c (process_measurement), ima_appraise.c
// (ima_appraise_measurement, xattr_verify), ima_policy.c (ima_parse_add_rule,
// ima_update_policy), security/integrity/digsig.c and digsig_asymmetric.c, block/fops.c of Linux 6.1 to 7.3.
package enforcer
