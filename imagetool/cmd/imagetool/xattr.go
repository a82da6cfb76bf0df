package main

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/signer/cli"
)

func xattrCommand() *cobra.Command {
	var selected selectFlags
	var name string
	cmd := &cobra.Command{
		Use:   "xattr IMAGE PATH",
		Short: "Print the extended attributes of a file of an image",
		Long: `Xattr prints each extended attribute on a line, as text in quotes where it is text,
else in hexadecimal. --name prints the bytes of one attribute and nothing else. A
symbolic link at the end of PATH is not followed.

` + pathHelp,
		Example: `  imagetool xattr signed.raw /usr/bin/ls
  imagetool xattr signed.raw /usr/bin/ls --name security.ima | xxd`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cli.Out(cmd)
			raw := cmd.Flags().Changed("name")
			switch {
			case raw && name == "":
				return cli.Usagef("--name: no attribute has an empty name")
			case raw && out.JSON:
				return cli.Usagef("--name prints raw bytes: give no --json")
			}
			img, err := openForReading(cmd, args[0], &selected)
			if err != nil {
				return err
			}
			defer img.Close()
			s, path, err := img.Find(args[1])
			if err != nil {
				return err
			}
			if raw {
				return rawXattr(out, s, path, name)
			}
			return listXattrs(out, s, path)
		},
	}
	selected.register(cmd)
	cmd.Flags().StringVar(&name, "name", "", "print the bytes of the attribute of this `name`")
	return cmd
}

func rawXattr(out *cli.Output, s *imagetool.FileSystem, path, name string) error {
	in, err := s.Lookup(path)
	if err != nil {
		return aboutPath(path, err)
	}
	value, ok, err := s.Xattr(in, name)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !ok {
		return fmt.Errorf("%s: no attribute %s", path, name)
	}
	_, err = out.Stdout().Write(value)
	return err
}

// xattrObject is the "xattr" object; the value is in hexadecimal.
type xattrObject struct {
	Type  string `json:"type"`
	Path  string `json:"path"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

func listXattrs(out *cli.Output, s *imagetool.FileSystem, path string) error {
	in, err := s.Lookup(path)
	if err != nil {
		return aboutPath(path, err)
	}
	attrs, err := s.Xattrs(in)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, a := range attrs {
		out.Object(xattrObject{"xattr", cli.Escape(path), cli.Escape(a.Name), hex.EncodeToString(a.Value)})
		out.Printf("%s=%s\n", cli.EscapeName(a.Name), valueText(a.Value))
	}
	return nil
}

// valueText quotes text and writes everything else, the empty value included, as
// getfattr(1) writes hexadecimal.
func valueText(value []byte) string {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(value) == 0 || !utf8.Valid(value) || strings.ContainsFunc(string(value), unprintable) {
		return "0x" + hex.EncodeToString(value)
	}
	return strconv.Quote(string(value))
}
