// Package profile reads what the enforcer must know of one build of a guest's kernel:
// addresses, offsets and numbers that differ from build to build, the IMA policy that this
// guest loads, and the digests of what it boots. Profiles are made by package imagetool, which also looks at whether
// the values can be true and whether the policy protects: what is signed is taken for
// that.
//
// A profile file is text in three lines, each of which ends with a newline:
//
//	vmseal-profile 7
//	{"release":"6.1.0-56-amd64",...}
//	signature 030204...
//
// The second line is the JSON form of Profile, in exactly the way in which Marshal
// writes it. The third is a security.ima value of type 3, version 2, SHA-256, in
// lower-case hexadecimal, over Digest of the first two lines.
//
// # Why Digest is not SHA-256
//
// The same key signs the files of images. If a profile were signed like a file,
// somebody could put a file into an image that reads like a profile, and take the
// signature from there. Digest is SHA-512/256, signed as though it were SHA-256:
// nobody can make a file whose SHA-256 it is.
//
// Addresses are those for which the kernel was linked. With address space layout
// randomization all of them move by the same number of bytes, but those of variables
// that each CPU has.
//
// # Code
//
// Profile.Code are the functions between a process that asks for a file and IMA's
// verdict. Their bytes do not stand in a profile: what runs is not what the kernel's file
// has, since alternatives, retpolines and the like are applied while the kernel starts. A
// digest taken once it has started stays the same as long as nobody changes the code,
// without what Function.Patched leaves out: fentry slots, jump labels, static calls and
// lock prefixes, which Linux itself may change at any time.
//
// What leads to the hooks of Linux security modules, jump labels and static calls as
// well, is not left out: it is set while the kernel starts. A kprobe in the middle of one
// of the functions is a change, one at its entry is not.
package profile
