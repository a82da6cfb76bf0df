package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
)

func newBlob() *cobra.Command {
	var key cli.KeyFlags
	var digest string
	var isBatch, digests bool
	cmd := &cobra.Command{
		Use:   "blob --key KEYREF FILE|-|--digest HEX|--batch",
		Short: "Print label values, and set none",
		Long: `Print the value of security.ima for a file, for standard input (-), or for a
digest that is known already: one line of lower-case hexadecimal.

With --batch, standard input holds lines as sha256sum (sha384sum, sha512sum)
writes them, and there is one value a line, in the same order. The key is opened
once. A line that is not of that form, or whose digest does not have the length
of the hash, ends the run with its number.

With --digests, print the digests of a file by all hashes that are signed with, and
sign nothing: they are lines for the deny list of the enforcer. That takes no key.

` + cli.KeyHelp,
		Example: `  signer blob --key keys/private.pem program
  setfattr -n security.ima -v 0x$(signer blob --key keys/private.pem program) program
  signer blob --key keys/private.pem --digest $(sha256sum program | cut -c1-64)
  find pkg -type f -exec sha256sum {} + | signer blob --key keys/private.pem --batch
  signer blob --digests program >>deny`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneSource(cmd, args, isBatch); err != nil {
				return err
			}
			if digests {
				return printDigests(cmd, args)
			}
			hash, err := key.ParseHash()
			if err != nil {
				return err
			}
			var sum []byte
			if cmd.Flags().Changed("digest") {
				if sum, err = parseDigest(digest, hash); err != nil {
					return cli.Usagef("--digest: %w", err)
				}
			}
			b, err := newBlobs(cmd, &key)
			if err != nil {
				return err
			}
			switch {
			case isBatch:
				return b.batch(cmd.Context(), cmd.InOrStdin())
			case sum != nil:
				return b.one(sum, "")
			case args[0] == "-":
				return b.digest(input.Reader(cmd.Context(), cmd.InOrStdin()), "-")
			}
			return b.file(cmd.Context(), args[0])
		},
	}
	key.Register(cmd)
	cmd.Flags().StringVar(&digest, "digest", "", "label this digest, in `hex`")
	cmd.Flags().BoolVar(&isBatch, "batch", false, "label the digests on standard input")
	cmd.Flags().BoolVar(&digests, "digests", false, "print the digests of FILE, or of standard input, for a deny list")
	delete(cmd.Flags().Lookup("key").Annotations, cobra.BashCompOneRequiredFlag)
	cmd.MarkFlagsOneRequired("key", "digests")
	cmd.MarkFlagsMutuallyExclusive("key", "digests")
	return cmd
}

// oneSource makes sure that there is exactly one thing to label.
func oneSource(cmd *cobra.Command, args []string, batch bool) error {
	n := len(args)
	if batch {
		n++
	}
	if cmd.Flags().Changed("digest") {
		n++
	}
	if n != 1 {
		return cli.Usagef("give one of FILE, -, --digest and --batch")
	}
	return nil
}

func parseDigest(s string, hash ima.HashID) ([]byte, error) {
	sum, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not hexadecimal", s)
	}
	if len(sum) != hash.Size() {
		return nil, fmt.Errorf("digest of %d bytes, but %v has %d", len(sum), hash, hash.Size())
	}
	return sum, nil
}

// blobs makes values and prints them.
type blobs struct {
	out *cli.Output
	opt signer.Options
	lab *signer.Labeller
}

func newBlobs(cmd *cobra.Command, key *cli.KeyFlags) (*blobs, error) {
	out := cli.Out(cmd)
	opt, err := key.Open(cmd.Context(), out)
	if err != nil {
		return nil, err
	}
	lab, err := signer.NewLabeller(opt)
	if err != nil {
		return nil, err
	}
	return &blobs{out, opt, lab}, nil
}

func (b *blobs) file(ctx context.Context, path string) error {
	f, err := input.Open(ctx, path)
	if err != nil {
		return err
	}
	defer f.Close()
	return b.digest(f, path)
}

func (b *blobs) digest(r io.Reader, name string) error {
	h := b.opt.Hash.CryptoHash().New()
	begin, err := io.ReadAll(io.LimitReader(r, ima.MaxFileID+1))
	if err != nil {
		return err
	}
	if ima.IsFileID(begin) {
		return cli.Incompletef("%s: %w", name, signer.ErrFileID)
	}
	h.Write(begin)
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	return b.one(h.Sum(nil), name)
}

func (b *blobs) one(digest []byte, name string) error {
	value, err := b.lab.Label(digest)
	if err != nil {
		return err
	}
	b.print(digest, value, name)
	return nil
}

func (b *blobs) print(digest, value []byte, name string) {
	b.out.Object(struct {
		Type   string `json:"type"`
		Name   string `json:"name,omitempty"` // as given
		Hash   string `json:"hash"`
		Digest string `json:"digest"`
		KeyID  string `json:"key_id"`
		Value  string `json:"value"`
	}{"value", cli.Escape(name), b.opt.Hash.String(), hex.EncodeToString(digest), b.opt.KeyID.String(), hex.EncodeToString(value)})
	b.out.Printf("%x\n", value)
}
