package main

import (
	"fmt"
	"io/fs"
)

// pathHelp is what the commands that take a path have in common.
const pathHelp = `In an image with several file systems, PATH may begin with the number of its
partition or the name of its logical volume (2:/etc, vg/root:/etc). Without one, and without --partition, it means the file
system that has an operating system (/etc/os-release) on it.`

// aboutPath puts the path that was given in front of what is wrong with it. An
// error of looking up that very path has it in front already.
func aboutPath(path string, err error) error {
	if e, ok := err.(*fs.PathError); ok && e.Path == path {
		err = e.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
