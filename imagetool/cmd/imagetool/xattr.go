package main

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer/cli"
)

type xattrFlags struct {
	selected selectFlags
	trust    cli.TrustFlag
	name     string
	raw      bool
}

func xattrCommand() *cobra.Command {
	var f xattrFlags
	cmd := &cobra.Command{
		Use:   "xattr IMAGE PATH",
		Short: "Print the extended attributes of a file of an image",
		Long: `Xattr prints each extended attribute on a line, as text in quotes where it is text,
else in hexadecimal. Below security.ima it says what kind of label that is, by which hash
and by which key. With --trust FILE, as for 'imagetool verify', the label of a regular
file is checked against its contents; the exit code is 3 unless it is a signature that
verifies.

--raw prints the bytes of security.ima and nothing else, --name those of the attribute
of that name. A symbolic link at the end of PATH is not followed.

` + pathHelp,
		Example: `  imagetool xattr signed.raw /usr/bin/ls
  imagetool xattr --trust trust.pem signed.raw /usr/bin/ls
  imagetool xattr --raw signed.raw /usr/bin/ls | xxd`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1]) },
	}
	f.selected.register(cmd)
	f.trust.RegisterOptional(cmd)
	cmd.Flags().StringVar(&f.name, "name", "", "print the bytes of the attribute of this `name`")
	cmd.Flags().BoolVar(&f.raw, "raw", false, "print the bytes of "+ima.XattrName)
	return cmd
}

func (f *xattrFlags) run(cmd *cobra.Command, image, path string) error {
	out := cli.Out(cmd)
	if named := cmd.Flags().Changed("name"); named && f.name == "" {
		return cli.Usagef("--name: no attribute has an empty name")
	} else if !named {
		f.name = ima.XattrName
	} else {
		f.raw = true
	}
	judged := cmd.Flags().Changed("trust")
	switch {
	case f.raw && out.JSON:
		return cli.Usagef("--raw and --name print raw bytes: give no --json")
	case f.raw && judged:
		return cli.Usagef("--raw and --name print raw bytes: give no --trust")
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
	s, path, err := img.Find(path)
	if err != nil {
		return err
	}
	if f.raw {
		return rawXattr(out, s, path, f.name)
	}
	return listXattrs(cmd, s, path, trust)
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

func listXattrs(cmd *cobra.Command, s *imagetool.FileSystem, path string, trust *keys.TrustStore) error {
	out := cli.Out(cmd)
	in, err := s.Lookup(path)
	if err != nil {
		return aboutPath(path, err)
	}
	attrs, err := s.Xattrs(in)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	l := newLabelReport(path)
	if trust != nil {
		if err := l.judge(cmd.Context(), s, in, trust); err != nil {
			return err
		}
	}
	labelled := false
	for _, a := range attrs {
		out.Object(xattrObject{"xattr", cli.Escape(path), cli.Escape(a.Name), hex.EncodeToString(a.Value)})
		out.Printf("%s=%s\n", cli.EscapeName(a.Name), valueText(a.Value))
		if a.Name == ima.XattrName {
			labelled = true
			l.explain(a.Value)
			l.print(out)
		}
	}
	if trust == nil {
		return nil
	}
	if !labelled {
		l.print(out)
	}
	return l.result()
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
