package main

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/archive/stream"
	"github.com/vmseal/vmseal/imagetool/diff"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/kernel"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/profile"
	"github.com/vmseal/vmseal/imagetool/undo"
	"github.com/vmseal/vmseal/signer/cli"
)

// refused is how packages say why they do not take something that they could read.
type refused interface {
	error
	Advice() string
}

// hint is what a person can do about an error.
func hint(err error) string {
	if e, ok := errors.AsType[refused](err); ok && e.Advice() != "" {
		return e.Advice()
	}
	if e, ok := errors.AsType[*imagetool.NoSpaceError](err); ok {
		return spaceHint(e)
	}
	if e, ok := errors.AsType[*imagetool.NoFileSystemError](err); ok {
		return contentHint(e)
	}
	if _, ok := errors.AsType[*imagetool.NoPartitionError](err); ok {
		return "'imagetool inspect IMAGE' lists what there is"
	}
	if _, ok := errors.AsType[*imagetool.SparseError](err); ok {
		return "leave it out with a line 'skip PATH' in a file for --rules, or read it all with --allow-sparse"
	}
	if _, ok := errors.AsType[*stream.SparseError](err); ok {
		return "leave it out with a line 'skip PATH' in a file for --rules, or read it all with --allow-sparse"
	}
	if e, ok := errors.AsType[*stream.LinkError](err); ok {
		return fmt.Sprintf("add the line '%s %s' to the rules: in an archive the rules for the first name of a file decide", e.Want, cli.EscapeName(e.Target))
	}
	if _, ok := errors.AsType[*profile.ManyKernelsError](err); ok {
		return "choose the one that the guest boots with --kernel PATH"
	}
	if e, ok := errors.AsType[*undo.CutShortError](err); ok {
		return fmt.Sprintf("see to it that both can be written to, then 'imagetool recover %s' brings back the bytes that the image had", cli.ShellName(e.Path, "IMAGE"))
	}
	if e, ok := errors.AsType[*undo.LogStaysError](err); ok {
		return fmt.Sprintf("remove %s, where it is still there, to keep the labels, or run 'imagetool recover %s' to take them back", cli.EscapeName(e.Log), cli.ShellName(e.Path, "IMAGE"))
	}
	if e, ok := errors.AsType[*undo.PendingError](err); ok {
		return fmt.Sprintf("'imagetool recover %s' brings back the bytes that the image had", cli.ShellName(e.Path, "IMAGE"))
	}
	if _, ok := errors.AsType[*undo.DamagedError](err); ok {
		return "nothing was written; the image may be half changed, and needs this log in one piece (--log names another file) or a copy of the image from before"
	}
	if _, ok := errors.AsType[*undo.OtherImageError](err); ok {
		return "nothing was written; --log names the log of this image, if that lies elsewhere"
	}
	if _, ok := errors.AsType[*undo.MismatchError](err); ok {
		return "nothing was written; if the image is to stay as it is, let e2fsck look at it and remove the log"
	}
	if _, ok := errors.AsType[*hostfile.InUseError](err); ok {
		return "stop the guest, unmount or detach the image, or work on a copy that was made while it was off"
	}
	if _, ok := errors.AsType[*hostfile.HardLinksError](err); ok {
		return "copy it, or write a signed copy with --out: what has another name may be somebody's backup"
	}
	switch {
	case errors.Is(err, output.ErrExists):
		return "choose another name, or replace it with --force"
	case errors.Is(err, output.ErrNoUndoLog):
		return "there is nothing to recover from; a log that lies elsewhere, since the image was moved, is named with --log"
	case errors.Is(err, imagetool.ErrWhichPartition):
		return "choose with --partition N, or put the number in front of the path: 2:/etc, vg/root:/etc; 'imagetool inspect IMAGE' lists them"
	case errors.Is(err, diff.ErrNothingInCommon):
		return "file systems are matched by the number of their partition, 0 for a whole disk, or by the name of their logical volume; 'imagetool inspect IMAGE' lists them"
	case errors.Is(err, profile.ErrNoKernel):
		return "name it with --kernel PATH; a kernel that lies outside of the image can be given in its place"
	case errors.Is(err, profile.ErrPolicyStays):
		return "add the rule 'appraise func=POLICY_CHECK appraise_type=imasig' to the policy: the kernel then takes rules from files alone that it has asked about, and the enforcer denies them all"
	case errors.Is(err, kernel.ErrNotKernel):
		return "wanted is vmlinuz as it is booted, or the vmlinux in it"
	case errors.Is(err, kernel.ErrNoLockdown):
		return "--no-lockdown makes a profile all the same; root of such a guest can change its kernel, and so run what nobody signed"
	case errors.Is(err, fsys.ErrEVM):
		return "--drop-evm removes it; the guest's own EVM would have to make it anew"
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return "without file locks it cannot be told whether a guest uses the image: copy it to a file system that has them"
	case errors.Is(err, fs.ErrPermission):
		return "imagetool needs no root, but has to be able to read the image, and to write to the folder of the output or to the image"
	}
	return ""
}

// roomHint tells what an output needs. Only who writes one wants to know.
func (f *signFlags) roomHint(err error) error {
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
	switch {
	case !full || hasLog(err):
		return err
	case f.inPlace:
		return cli.WithHint(err, "the undo log needs about as much room as the labels, and so does the image if it is sparse; an image in a container needs room for a copy beside it; nothing was changed")
	}
	return cli.WithHint(err, "the output needs as much room as the data of the input; a file system with reflinks (XFS, Btrfs) needs next to none")
}

// hasLog reports whether the error leaves an undo log, which matters more than what
// led to it.
func hasLog(err error) bool {
	_, cut := errors.AsType[*undo.CutShortError](err)
	_, stays := errors.AsType[*undo.LogStaysError](err)
	_, pending := errors.AsType[*undo.PendingError](err)
	return cut || stays || pending
}

func spaceHint(e *imagetool.NoSpaceError) string {
	missing := ((e.Needed-e.Free)*uint64(e.BlockSize) + 1023) / 1024
	if e.Volume.ID.IsLogical() {
		return fmt.Sprintf("let the guest enlarge it and its file system by at least %d KiB, or make it anew with larger inodes, which hold the labels themselves", missing)
	}
	if e.Volume.ID != volume.WholeDisk {
		return fmt.Sprintf("enlarge the partition and its file system on a copy of the image by at least %d KiB, or make it anew with larger inodes, which hold the labels themselves", missing)
	}
	const group = 16 << 10 // enough for what ext4 keeps of a new group of blocks for itself
	return fmt.Sprintf("on a copy of the image, 'truncate --size=+%dK IMAGE && e2fsck -fp IMAGE && resize2fs IMAGE' makes room; or make it anew with larger inodes, which hold the labels themselves", missing+missing/4+group)
}

func contentHint(e *imagetool.NoFileSystemError) string {
	for _, p := range e.Found {
		if e.Volume != imagetool.AnyPartition && e.Volume != p.ID {
			continue
		}
		if advice := disk.Advice(p.FS); advice != "" && p.Group == "" {
			return p.FS + ": " + advice
		}
	}
	return "'imagetool inspect IMAGE' lists what there is"
}
