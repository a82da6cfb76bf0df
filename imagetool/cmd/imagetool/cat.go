package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/verify"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer/cli"
)

type catFlags struct {
	selected selectFlags
	trust    cli.TrustFlag
}

func catCommand() *cobra.Command {
	var f catFlags
	cmd := &cobra.Command{
		Use:   "cat IMAGE PATH",
		Short: "Print the contents of a file of an image",
		Long: `Cat writes the bytes of a regular file to standard output, exactly as the guest's
kernel would read them. Symbolic links are followed inside the image.

With --trust FILE, as for 'imagetool verify', the file's signature is checked first.
If it does not hold nothing is written, and the exit code is 3. A signature belongs to
the contents: any other file that the same key has signed may lie under that path.

` + pathHelp,
		Example: `  imagetool cat disk.raw /etc/os-release
  imagetool cat --trust trust.pem signed.raw /boot/vmlinuz-6.1.0-56-amd64 > vmlinuz`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1]) },
	}
	f.selected.register(cmd)
	f.trust.RegisterOptional(cmd)
	return cmd
}

func (f *catFlags) run(cmd *cobra.Command, image, path string) error {
	out := cli.Out(cmd)
	if out.JSON {
		return cli.Usagef("cat prints raw bytes: give no --json")
	}
	trust, err := f.trust.LoadIfGiven()
	if err != nil {
		return err
	}
	img, err := openForReading(cmd, image, &f.selected)
	if err != nil {
		return err
	}
	defer img.Close()
	s, name, err := img.Find(path)
	if err != nil {
		return err
	}
	in, err := s.Follow(name)
	if err != nil {
		return aboutPath(name, err)
	}
	if !in.Stat().IsRegular() {
		return fmt.Errorf("%s: not a regular file", name)
	}
	if trust != nil {
		if err := requireSigned(cmd.Context(), s, in, name, trust); err != nil {
			return err
		}
	}
	c, err := s.Open(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := io.Copy(out.Stdout(), cancellable{cmd.Context(), c}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// requireSigned refuses a file whose signature does not hold.
func requireSigned(ctx context.Context, s *imagetool.FileSystem, in fsys.Inode, name string, trust *keys.TrustStore) error {
	finding, err := verify.File(ctx, s, in, name, trust)
	if err != nil {
		return err
	}
	if !finding.OK() {
		return cli.Incompletef("%s: %s", name, cli.FindingText(finding))
	}
	return nil
}

// cancellable ends a long read with its context.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
