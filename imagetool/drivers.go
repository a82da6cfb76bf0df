package imagetool

import (
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/fsys/extfs"
)

// drivers has all file systems that can be worked on, by what package disk calls them.
var drivers = map[string]fsys.Driver{
	"ext2": extfs.Driver{},
	"ext3": extfs.Driver{},
	"ext4": extfs.Driver{},
}

// Driver opens what a volume holds; nil if that is nothing that can be worked on.
func Driver(v disk.Volume) fsys.Driver { return drivers[v.FS] }
