// Package extfs is the fsys.Driver for ext2, ext3 and ext4. All the work is done by
// imagetool/ext4, which knows neither devices nor other file systems; this package only
// says the same in the words of fsys.
package extfs
