// Package diff tells what changed between two images, name by name and by contents: what
// labels claim is not believed. It knows images as imagetool.Image has them, and files as
// imagetool/fsys does.
package diff
