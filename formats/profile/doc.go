// Package profile reads what the enforcer must know about one guest: addresses, offsets and numbers
// that differ between kernel builds, the IMA policy that the guest loads, and the digests of the
// kernel and initrd that it boots. Package imagetool makes profiles. It also checks that the values
// are plausible and that the policy protects; readers of a signed profile rely on that.
//
// A profile file has three lines, each of which ends with a newline:
//
//	vmseal-profile 7
//	{"release":"6.1.0-56-amd64",...}
//	signature 030204...
//
// The second line is the JSON form of Profile, exactly as Marshal writes it. The third is a
// security.ima value of type 3, version 2, SHA-256, in lower-case hexadecimal. It signs the Digest of
// the first two lines.
//
// # Why Digest is not SHA-256
//
// The same key signs the files of images. If a profile were signed like a file, somebody could put a
// file into an image that looks like a profile, and take the signature from there. Digest is therefore
// SHA-512/256, signed as if it were SHA-256: nobody can make a file with that SHA-256.
//
// Addresses are link addresses. Address space layout randomization moves all of them by the same
// number of bytes, except those of per-CPU variables.
//
// # Code
//
// Profile.Code lists the functions between a process that asks for a file and IMA's verdict. The
// profile does not contain their bytes: while the kernel starts, it patches its code (alternatives,
// retpolines and others), so the running code differs from the kernel's file. A digest of the running
// code stays the same as long as nobody changes the code, if the places in Function.Patched are left
// out: fentry slots, jump labels, static calls and lock prefixes, which Linux may patch at any time.
//
// The jump labels and static calls that call the hooks of Linux security modules are not left out:
// they are set while the kernel starts. A kprobe inside one of the functions is a change; a kprobe at
// its entry is not.
package profile
