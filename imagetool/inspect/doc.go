// Package inspect tells what is in an image, also in one that cannot be signed, and what
// stands in the way. It knows images as imagetool.Image has them.
package inspect
