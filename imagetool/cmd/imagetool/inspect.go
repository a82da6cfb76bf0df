package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/inspect"
	"github.com/vmseal/vmseal/signer/cli"
)

func inspectCommand() *cobra.Command {
	var selected selectFlags
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Tell what is in an image and what is signed",
		Long: `Inspect tells the container, the partitions, the ext file systems, the operating
system, the kernels, other integrity layers (dm-verity, Android Verified Boot, OSTree,
composefs), and how many files have which kind of security.ima label. What would make
'imagetool sign' refuse the image is listed under problems; that is a finding, not a
failure: the exit code is 0.`,
		Example: `  imagetool inspect disk.raw
  imagetool inspect --json disk.raw | jq .problems`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := selected.check(cmd); err != nil {
				return err
			}
			r, err := inspect.Image(cmd.Context(), args[0], selected.Selection)
			if err != nil {
				return err
			}
			out := cli.Out(cmd)
			out.Object(newInspectObject(r))
			printInspection(out, r)
			return nil
		},
	}
	selected.registerSectors(cmd)
	return cmd
}

// inspectObject is the "image" object.
type inspectObject struct {
	Type string `json:"type"`
	*inspect.Report
	Problems []problemObject `json:"problems"`
}

type problemObject struct {
	Partition *int   `json:"partition,omitempty"` // absent for the image as a whole
	Reason    string `json:"reason"`
	Hint      string `json:"hint,omitempty"`
}

func newInspectObject(r *inspect.Report) inspectObject {
	escaped := *r
	escaped.Path = cli.Escape(r.Path)
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
	o := inspectObject{"image", &escaped, []problemObject{}}
	for _, p := range r.Problems {
		object := problemObject{Reason: cli.Escape(p.Err.Error()), Hint: hint(p.Err)}
		if p.Partition != imagetool.AnyPartition {
			object.Partition = &p.Partition
		}
		o.Problems = append(o.Problems, object)
	}
	return o
}

func printInspection(out *cli.Output, r *inspect.Report) {
	table := map[string]string{"gpt": "GPT", "mbr": "MBR", "none": "no partition table"}[r.Table]
	out.Printf("%s: %s image, %s, %s\n", cli.EscapeName(r.Path), r.Format, cli.Size(r.Size), table)
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
	if len(r.Problems) == 0 {
		return
	}
	out.Printf("\nproblems, for which it would not be signed:\n")
	for _, p := range r.Problems {
		where := ""
		if p.Partition > 0 {
			where = fmt.Sprintf("partition %d: ", p.Partition)
		}
		out.Printf("  %s%s\n", where, cli.Line(p.Err))
		if h := hint(p.Err); h != "" {
			out.Printf("    %s\n", h)
		}
	}
}

func printPartition(out *cli.Output, p *inspect.Volume) {
	fs := p.FS
	if fs == "" {
		fs = "unknown contents"
	}
	if p.Number == 0 {
		out.Printf("\nwhole disk: %s\n", fs)
	} else {
		out.Printf("\npartition %d: %s, %s at %d, type %s\n", p.Number, fs, cli.Size(p.Size), p.Start, p.Type)
	}
	var rows [][]string
	row := func(name, format string, args ...any) {
		rows = append(rows, []string{"  " + name, fmt.Sprintf(format, args...)})
	}
	if p.Name != "" {
		row("name", "%s", cli.EscapeName(p.Name))
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
