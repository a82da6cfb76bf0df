package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/signer/cli"
)

func catCommand() *cobra.Command {
	var selected selectFlags
	cmd := &cobra.Command{
		Use:   "cat IMAGE PATH",
		Short: "Print the contents of a file of an image",
		Long: `Cat writes the bytes of a regular file to standard output, exactly as the guest's
kernel would read them. Symbolic links are followed inside the image.

` + pathHelp,
		Example: `  imagetool cat disk.raw /etc/os-release`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cli.Out(cmd)
			if out.JSON {
				return cli.Usagef("cat prints raw bytes: give no --json")
			}
			img, err := openForReading(cmd, args[0], &selected)
			if err != nil {
				return err
			}
			defer img.Close()
			s, name, err := img.Find(args[1])
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
			c, err := s.Open(in)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if _, err := io.Copy(out.Stdout(), cancellable{cmd.Context(), c}); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		},
	}
	selected.register(cmd)
	return cmd
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
