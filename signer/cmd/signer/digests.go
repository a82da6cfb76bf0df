package main

import (
	"encoding/hex"
	"hash"
	"io"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/signer/cli"
)

// printDigests prints what a file may have been signed by, one hash a line.
func printDigests(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return cli.Usagef("--digests: give FILE or -")
	}
	r := input.Reader(cmd.Context(), cmd.InOrStdin())
	if args[0] != "-" {
		f, err := input.Open(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	hashes := []ima.HashID{ima.SHA256, ima.SHA384, ima.SHA512}
	var all []io.Writer
	for _, h := range hashes {
		all = append(all, h.CryptoHash().New())
	}
	if _, err := io.Copy(io.MultiWriter(all...), r); err != nil {
		return err
	}
	out := cli.Out(cmd)
	for i, h := range hashes {
		digest := hex.EncodeToString(all[i].(hash.Hash).Sum(nil))
		out.Object(struct {
			Type   string `json:"type"`
			Name   string `json:"name"` // as given
			Hash   string `json:"hash"`
			Digest string `json:"digest"`
		}{"digest", cli.Escape(args[0]), h.String(), digest})
		out.Printf("%v:%s\n", h, digest)
	}
	return nil
}
