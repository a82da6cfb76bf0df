package main

import (
	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool/inspect"
	"github.com/vmseal/vmseal/signer/cli"
)

// archiveObject is the "archive" object of inspect.
type archiveObject struct {
	Type   string `json:"type"`
	Path   string `json:"path"`
	Packed string `json:"compression,omitempty"`
	*inspect.ArchiveReport
	Problems []problemObject `json:"problems"`
}

func (f *inspectFlags) runArchive(cmd *cobra.Command, src *archiveSource) error {
	if err := refuseFlags(cmd, ofImages); err != nil {
		return err
	}
	r, err := inspect.Archive(cmd.Context(), src)
	if err != nil {
		return err
	}
	if r.Problem == nil && src.packed != "" {
		r.Problem = src.compressed(src.packed)
	}
	out := cli.Out(cmd)
	o := archiveObject{"archive", cli.Escape(src.path), src.packed, r, []problemObject{}}
	if r.Problem != nil {
		o.Problems = append(o.Problems, problemObject{Reason: cli.Escape(r.Problem.Error()), Hint: hint(r.Problem)})
	}
	out.Object(o)
	packed := ""
	if src.packed != "" {
		packed = ", compressed (" + src.packed + ")"
	}
	out.Printf("%s: tar archive%s, %s, %s\n", cli.EscapeName(src.path), packed, cli.Count(r.Members, "member"), cli.Count(r.Links, "hard link"))
	out.Table([][]string{{"  files", labelText(&r.Labels)}})
	if r.Problem == nil {
		return nil
	}
	out.Printf("\nproblems, for which it would not be signed:\n  %s\n", cli.Line(r.Problem))
	if h := hint(r.Problem); h != "" {
		out.Printf("    %s\n", h)
	}
	if f.check {
		return cli.Incompletef("%s would not be signed", src.path)
	}
	return nil
}
