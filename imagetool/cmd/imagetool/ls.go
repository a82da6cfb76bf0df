package main

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/signer/cli"
)

func lsCommand() *cobra.Command {
	var selected selectFlags
	cmd := &cobra.Command{
		Use:   "ls IMAGE [PATH]",
		Short: "List a directory of an image",
		Long: `Ls lists a directory, or a single file, as 'ls -ln' does: mode, links, owner, group,
size, time of change (UTC), name. PATH is / if it is not given.

` + pathHelp,
		Example: `  imagetool ls disk.raw /boot
  imagetool ls disk.raw 2:/etc`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "/"
			if len(args) == 2 {
				name = args[1]
			}
			img, err := openForReading(cmd, args[0], &selected)
			if err != nil {
				return err
			}
			defer img.Close()
			s, name, err := img.Find(name)
			if err != nil {
				return err
			}
			return list(cli.Out(cmd), s, name)
		},
	}
	selected.register(cmd)
	return cmd
}

func list(out *cli.Output, s *imagetool.FileSystem, name string) error {
	in, err := s.Lookup(name)
	if err != nil {
		return aboutPath(name, err)
	}
	if in.Stat().IsSymlink() && strings.HasSuffix(name, "/") {
		if in, err = s.Follow(name); err != nil {
			return aboutPath(name, err)
		}
	}
	var l listing
	if !in.Stat().IsDir() {
		if err := l.add(s, name, in); err != nil {
			return err
		}
		l.print(out)
		return nil
	}
	entries, err := s.ReadDir(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	slices.SortFunc(entries, func(a, b fsys.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range entries {
		in, err := s.Inode(e.Inode)
		if err == nil {
			err = l.add(s, e.Name, in)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join(name, e.Name), err)
		}
	}
	l.print(out)
	return nil
}

// entryObject is the "entry" object of ls.
type entryObject struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Inode  uint64 `json:"inode"`
	Mode   string `json:"mode"` // st_mode in octal
	Links  uint32 `json:"links"`
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Size   int64  `json:"size"`
	Mtime  string `json:"mtime"`
	Target string `json:"target,omitempty"`

	text []string
}

type listing []entryObject

func (l *listing) add(s *imagetool.FileSystem, name string, in fsys.Inode) error {
	st := in.Stat()
	e := entryObject{
		Type: "entry", Name: cli.Escape(name), Inode: st.Number, Mode: fmt.Sprintf("%06o", st.Mode),
		Links: st.Links, UID: st.UID, GID: st.GID, Size: st.Size, Mtime: st.Mtime.UTC().Format(time.RFC3339Nano),
	}
	shown := cli.EscapeName(name)
	if st.IsSymlink() {
		target, err := s.Readlink(in)
		if err != nil {
			return err
		}
		e.Target = cli.Escape(target)
		shown += " -> " + cli.EscapeName(target)
	}
	e.text = []string{
		modeText(st.Mode), num(st.Links), num(st.UID), num(st.GID), strconv.FormatInt(st.Size, 10),
		st.Mtime.UTC().Format("2006-01-02 15:04:05"), shown,
	}
	*l = append(*l, e)
	return nil
}

func (l listing) print(out *cli.Output) {
	var rows [][]string
	for _, e := range l {
		out.Object(e)
		rows = append(rows, e.text)
	}
	out.Table(rows)
}

func num(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// modeText writes st_mode as ls(1) does.
func modeText(mode uint32) string {
	kind := map[uint32]byte{
		unix.S_IFREG: '-', unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFCHR: 'c',
		unix.S_IFBLK: 'b', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's',
	}[mode&unix.S_IFMT]
	if kind == 0 {
		kind = '?'
	}
	b := []byte(string(rune(kind)) + fs.FileMode(mode & 0o777).String()[1:])
	special := func(bit uint32, at int, letter byte) {
		if mode&bit == 0 {
			return
		}
		if b[at] == '-' {
			letter -= 'a' - 'A'
		}
		b[at] = letter
	}
	special(unix.S_ISUID, 3, 's')
	special(unix.S_ISGID, 6, 's')
	special(unix.S_ISVTX, 9, 't')
	return string(b)
}
