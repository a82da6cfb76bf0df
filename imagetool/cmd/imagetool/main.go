package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/signer/cli"
)

func main() {
	os.Exit(cli.Main(root(), hint))
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "imagetool",
		Short: "Sign and verify the files of guest disk images",
		Long: `Imagetool writes a signature over each regular file of a guest's disk image into
the file's security.ima attribute, where the Linux kernel's IMA looks for it. It
works on images with ext2, ext3 or ext4, on a whole disk or in the partitions of a GPT
or MBR: raw images, and qcow2, VMDK, VHD, VHDX and VDI, for which it uses QEMU's
qemu-storage-daemon. It also works on the tar archives that images are made of. It needs
no root, mounts nothing, and changes its input only if it is told to.

  imagetool inspect disk.raw
  imagetool sign --key key/private.pem disk.raw --out signed.raw
  imagetool sign --key key/private.pem disk.raw --in-place
  imagetool recover disk.raw
  imagetool verify --trust key/cert.pem signed.raw
  imagetool diff old.raw signed.raw
  imagetool prepare --key key/private.pem --trust key/trust.pem signed.raw --out boot

Keys are made by 'signer key new'.

In an image with several file systems, paths have the number of the partition in
front, or the name of the logical volume, as in 2:/etc/passwd and vg/root:/etc/passwd,
on output and on input.

Exit codes: 0 done and all good; 1 failed; 2 wrong usage; 3 done, but some files do
not verify, a partition was left out unasked, or 'imagetool diff' has found
differences; 'imagetool cat --trust' prints no file that does not verify.`,
	}
	cmd.AddCommand(inspectCommand(), signCommand(), recoverCommand(), verifyCommand(), diffCommand(),
		profileCommand(), initrdCommand(), prepareCommand(), lsCommand(), catCommand(), xattrCommand(), cli.RulesCommand("imagetool"))
	return cmd
}
