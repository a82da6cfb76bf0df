package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/signer/cli"
)

// leftOutHelp is what sign and verify have in common.
const leftOutHelp = `Only ext2, ext3 and ext4 are read. Each other partition is named, and the exit code is
3, unless nothing can be executed from it: it is empty, or its type and its contents
are those of swap, an EFI system partition (FAT), a BIOS or PReP boot partition, a Linux
reserved one, or dm-verity's. --partition N works on one alone, --leave-out N says that a
partition is meant to be left out, whatever it holds.

The linear volumes of LVM2 are like partitions, by the name GROUP/VOLUME ("vg/root")
instead of a number; the number of a physical volume stands for all that lies on it.
Other kinds of volumes, and groups that are not whole, exported or locked, are refused.`

// leftOut are the partitions that a run does not look at although nobody said so.
type leftOut []disk.Volume

// leftOutObject is one of them in the "summary" object.
type leftOutObject struct {
	Partition volume.ID `json:"partition"`
	Kind      string    `json:"kind"` // "xfs", "unknown contents"
	Type      string    `json:"type"` // in the partition table
}

// findLeftOut names them in warnings, with --quiet too: that files were not looked at
// belongs to the result. Messages begin with the name that is given.
func findLeftOut(cmd *cobra.Command, img *imagetool.Image, name string) (leftOut, error) {
	left, err := img.LeftOut(cmd.Context())
	if err != nil {
		return nil, err
	}
	for _, v := range left {
		warning := fmt.Errorf("%s", about(name, v.String()+" is left out"))
		cli.Out(cmd).Warn(cli.WithHint(warning, disk.Advice(v.FS)))
	}
	return left, nil
}

// objects are never nil: the field is there also if nothing was left out.
func (l leftOut) objects() []leftOutObject {
	list := []leftOutObject{}
	for _, v := range l {
		list = append(list, leftOutObject{v.ID, v.Kind(), v.Type})
	}
	return list
}

// result is the error of a run that is otherwise good: what became of the volumes is
// "not signed", for instance.
func (l leftOut) result(became string) error {
	if len(l) == 0 {
		return nil
	}
	var names, flags []string
	for _, v := range l {
		names = append(names, v.String())
		flags = append(flags, fmt.Sprintf("--leave-out %s", v.ID))
	}
	return cli.WithHint(cli.Incompletef("%s: %s", became, strings.Join(names, ", ")),
		strings.Join(flags, " ")+" says that this is meant")
}
