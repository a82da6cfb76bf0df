package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/container"
	"github.com/vmseal/vmseal/imagetool/inspect"
	"github.com/vmseal/vmseal/signer/cli"
)

// containerFlags say what file an image is.
type containerFlags struct {
	prefix  string // of the names of the flags
	format  string
	backing []string
}

// containerHelp is what the commands that open images have in common.
const containerHelp = `An image is raw, or qcow2, VMDK, VHD (vpc), VHDX or VDI, which QEMU's
qemu-storage-daemon reads. The name of the file and its header have to agree on what it
is (disk.qcow2), or else --format says it: a guest can write the header of a container
into its raw disk. Of the files that an image refers to, only those are opened that
--backing names.`

// register adds --format and --backing.
func (f *containerFlags) register(cmd *cobra.Command, prefix string) {
	f.prefix = prefix
	of := "the image"
	if prefix != "" {
		of = "the first image"
	}
	flags := cmd.Flags()
	flags.StringVar(&f.format, prefix+"format", "", "`format` of "+of+": raw, qcow2, vmdk, vpc, vhdx or vdi")
	flags.StringArrayVar(&f.backing, prefix+"backing", nil, "backing `file` of "+of+"; repeat it for that file's own")
}

func (f *containerFlags) apply(s *imagetool.Selection) (err error) {
	if f.format == formatTar {
		return noFiles("--" + f.prefix + "format tar")
	}
	if s.Format, err = container.ParseFormat(f.format); err != nil {
		return cli.Usagef("--%sformat: %v", f.prefix, err)
	}
	s.Backing = f.backing
	return nil
}

// printContainer tells what can be done with the file that the disk lies in.
func printContainer(out *cli.Output, r *inspect.Report) {
	c := r.Container
	if c == nil {
		return
	}
	rows := [][]string{{"  container", cli.Printable(c.Kind)}}
	if c.Backing != "" {
		rows = append(rows, []string{"  backing file", cli.EscapeName(c.Backing)})
	}
	signing := "in a copy of the file, or in place"
	switch {
	case c.Copy == inspect.MadeAnew:
		signing = "in a copy that qemu-img makes anew: " + c.Reason
	case !c.InPlace:
		signing = "in a copy of the file; not in place: " + c.Reason
	}
	out.Table(append(rows, []string{"  signing", signing}))
}

// warnOfName says that the name of a copy will not tell what it is.
func warnOfName(cmd *cobra.Command, img *imagetool.Image, out string) {
	if h := img.Container(); out != "" && h != nil && !container.NameFits(out, h.Format) {
		cli.Out(cmd).Warn(fmt.Errorf("%s will be %s, which its name does not say: commands that open it need --format %s", out, h.Format, h.Format))
	}
}

// warnOfRewriting says that a copy is not what the image was but for the labels.
func warnOfRewriting(cmd *cobra.Command, img *imagetool.Image, out string) {
	if h := img.Container(); out != "" && h != nil && h.Convert != "" {
		cli.Out(cmd).Warn(errors.New(h.Convert + ": the copy is made anew by qemu-img, with the same contents and kind"))
	}
}
