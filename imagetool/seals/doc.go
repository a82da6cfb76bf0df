// Package seals finds the integrity layers of others in an image: what has digests of
// bytes or of attributes that signing changes. Whoever wants both signs first and seals
// then.
//
// dm-verity and Android Verified Boot cover volumes byte by byte. An OSTree repository in
// mode bare counts the extended attributes of its objects among what it digests. And who
// mounts a composefs image sees the attributes that the image has, not those of the
// files behind it. fs-verity alone covers contents only, and is no seal in this sense.
package seals
