package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/inspect"
	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
)

type inspectFlags struct {
	selected selectFlags
	size     cli.SizeFlags
	check    bool
}

func inspectCommand() *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Tell what is in an image and what is signed",
		Long: `Inspect tells the container, the partitions, the ext file systems, the operating
system, the kernels, other integrity layers (dm-verity, Android Verified Boot, OSTree,
composefs), and how many files have which kind of security.ima label. What would make
'imagetool sign' refuse the image is listed under problems, and so are the partitions
that it would leave out unasked. That is a finding, not a failure, and the exit code is
0; with --check it is 3, and 0 only if all would be signed.

How much room the labels need depends on the size of the key that is to sign: that of
--cert FILE, or --bits N. No private key is needed. --partition and --leave-out are as for
'imagetool sign': the whole image is shown, and judged by what would be signed of it.

` + archiveHelp,
		Example: `  imagetool inspect disk.raw
  imagetool inspect --check --cert key/cert.pem disk.raw && echo ready
  imagetool inspect --json disk.raw | jq .problems`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	f.selected.register(cmd)
	f.selected.registerLeaveOut(cmd)
	f.size.Register(cmd)
	cmd.Flags().BoolVar(&f.check, "check", false, "fail with 3 if not all would be signed")
	return cmd
}

func (f *inspectFlags) run(cmd *cobra.Command, path string) error {
	src, err := openArchive(cmd.Context(), path, &f.selected.container)
	if err != nil {
		return err
	}
	if src != nil {
		defer src.Close()
		return f.runArchive(cmd, src)
	}
	if err := f.selected.check(cmd); err != nil {
		return err
	}
	bits, id, err := f.size.Key(cmd.Context())
	if err != nil {
		return err
	}
	r, err := inspect.Image(cmd.Context(), path, inspect.Options{
		Selection: f.selected.Selection, LabelSize: signer.ValueSize(bits), KeyID: id,
	})
	if err != nil {
		return err
	}
	out := cli.Out(cmd)
	out.Object(newInspectObject(r))
	printInspection(out, r)
	switch n := len(r.Problems); {
	case !f.check:
		return nil
	case n > 0:
		return cli.Incompletef("%s would not be signed, for %s", path, cli.Count(n, "problem"))
	}
	return leftOut(r.LeftOut).result("would not be signed")
}

// inspectObject is the "image" object.
type inspectObject struct {
	Type string `json:"type"`
	*inspect.Report
	LeftOut  []leftOutObject `json:"left_out"`
	Problems []problemObject `json:"problems"`
}

type problemObject struct {
	Partition volume.ID `json:"partition,omitempty"` // absent for the image as a whole
	Reason    string    `json:"reason"`
	Hint      string    `json:"hint,omitempty"`
}

func newInspectObject(r *inspect.Report) inspectObject {
	escaped := *r
	escaped.Path = cli.Escape(r.Path)
	if r.Container != nil {
		c := *r.Container
		c.Kind, c.Backing = cli.Escape(c.Kind), cli.Escape(c.Backing)
		escaped.Container = &c
	}
	escaped.Partitions = slices.Clone(r.Partitions)
	for i := range escaped.Partitions {
		p := &escaped.Partitions[i]
		p.Name, p.OS = cli.Escape(p.Name), cli.Escape(p.OS)
		if p.Ext != nil {
			ext := *p.Ext
			ext.Label = cli.Escape(ext.Label)
			p.Ext = &ext
		}
		p.Kernel = slices.Clone(p.Kernel)
		for j := range p.Kernel {
			p.Kernel[j] = cli.Escape(p.Kernel[j])
		}
	}
	escaped.Seals = escapeSeals(r.Seals)
	o := inspectObject{"image", &escaped, leftOut(r.LeftOut).objects(), []problemObject{}}
	for _, p := range r.Problems {
		o.Problems = append(o.Problems, problemObject{p.Partition, cli.Escape(p.Err.Error()), problemHint(r, p)})
	}
	return o
}

// problemHint knows where in the image a partition lies.
func problemHint(r *inspect.Report, p inspect.Problem) string {
	for _, v := range r.Partitions {
		if v.ID == p.Partition {
			return hint(&imagetool.VolumeError{Volume: v.Volume, Err: p.Err})
		}
	}
	return hint(p.Err)
}

func printInspection(out *cli.Output, r *inspect.Report) {
	table := map[string]string{"gpt": "GPT", "mbr": "MBR", "none": "no partition table"}[r.Table]
	out.Printf("%s: %s image, %s, %s\n", cli.EscapeName(r.Path), r.Format, cli.Size(r.Size), table)
	printContainer(out, r)
	for i := range r.Partitions {
		printPartition(out, &r.Partitions[i])
	}
	if len(r.Seals) > 0 {
		out.Printf("\nother integrity layers:\n")
	}
	for i := range r.Seals {
		out.Printf("  %s\n", cli.Printable(r.Seals[i].Text))
	}
	if len(r.Warnings) > 0 {
		out.Printf("\nnot as it should be:\n")
	}
	for _, w := range r.Warnings {
		out.Printf("  %s\n", w)
	}
	if len(r.LeftOut) > 0 {
		out.Printf("\nwould be left out, and something may be executed from it:\n")
	}
	for _, v := range r.LeftOut {
		out.Printf("  %s\n", v)
	}
	if len(r.Problems) == 0 {
		return
	}
	out.Printf("\nproblems, for which it would not be signed:\n")
	for _, p := range r.Problems {
		where := ""
		if p.Partition != imagetool.AnyPartition && p.Partition != volume.WholeDisk {
			where = p.Partition.Title() + ": "
		}
		out.Printf("  %s%s\n", where, cli.Line(p.Err))
		if h := problemHint(r, p); h != "" {
			out.Printf("    %s\n", h)
		}
	}
}

func printPartition(out *cli.Output, p *inspect.Volume) {
	fs := p.FS
	if fs == "" {
		fs = "unknown contents"
	}
	switch {
	case p.ID == volume.WholeDisk:
		out.Printf("\nwhole disk: %s\n", fs)
	case p.ID.IsLogical():
		out.Printf("\n%s: %s, %s\n", p.ID.Title(), fs, cli.Size(p.Size))
	default:
		out.Printf("\n%s: %s, %s at %d, type %s\n", p.ID.Title(), fs, cli.Size(p.Size), p.Start, p.Type)
	}
	var rows [][]string
	row := func(name, format string, args ...any) {
		rows = append(rows, []string{"  " + name, fmt.Sprintf(format, args...)})
	}
	if p.Name != "" {
		row("name", "%s", cli.EscapeName(p.Name))
	}
	if p.Group != "" {
		row("group", "%s", p.Group)
	}
	for _, s := range p.Places {
		row("lies", "%s at %d", cli.Size(s.Size), s.Start)
	}
	if e := p.Ext; e != nil {
		if e.Label != "" {
			row("label", "%s", cli.EscapeName(e.Label))
		}
		row("uuid", "%s", e.UUID)
		row("blocks", "%d of %d bytes, %d free", e.Blocks, e.BlockSize, e.FreeBlocks)
		row("inodes", "%d of %d bytes, %d free", e.Inodes, e.InodeSize, e.FreeInodes)
		row("features", "%s", strings.Join(e.Features, " "))
	}
	if p.OS != "" {
		row("system", "%s", cli.EscapeName(p.OS))
	}
	for _, k := range p.Kernel {
		row("kernel", "%s", cli.EscapeName(k))
	}
	if p.Labels != nil {
		row("files", "%s", labelText(p.Labels))
	}
	if p.Room != nil {
		row("room", "labels of %d bytes need %s; %d are free", p.Room.LabelSize, cli.Count(int(p.Room.NewBlocks), "new block"), p.Room.FreeBlocks)
	}
	out.Table(rows)
}

func labelText(l *inspect.Labels) string {
	text := fmt.Sprintf("%d regular: %d signed, %d with a digest, %d with an fs-verity signature, %d unlabelled",
		l.Files, l.Signature, l.Digest, l.Verity, l.None)
	if l.Other > 0 {
		text += fmt.Sprintf(", %d with something else", l.Other)
	}
	for _, id := range slices.Sorted(maps.Keys(l.KeyIDs)) {
		text += fmt.Sprintf("; key %s: %d", id, l.KeyIDs[id])
	}
	return text
}
