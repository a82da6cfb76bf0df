// Package profile finds the kernel that a guest boots, in an image or in a file of its
// own, and makes the signed profile of it for the enforcer. What a kernel says of itself
// is read by imagetool/kernel; the file is that of formats/profile.
package profile
