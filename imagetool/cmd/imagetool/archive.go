package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool/archive"
	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/unpack"
	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
)

// formatTar is what --format calls an archive; piped stands for standard input and output.
const (
	formatTar = "tar"
	piped     = "-"
)

// archiveHelp is what sign and verify have in common.
const archiveHelp = `A tar archive is taken where its name says so (.tar) or --format tar does, and - stands for
one on standard input. The values are in pax records, SCHILY.xattr.security.ima, which
'tar --xattrs --xattrs-include="*"' unpacks; no other byte of the archive changes.`

// An archiveSource is a tar archive that is to be read once.
type archiveSource struct {
	io.Reader
	path   string
	packed string         // how it is compressed; "" if it is not
	file   *hostfile.File // nil for standard input
	unpack io.Closer
}

// compressions are the names of compressed archives.
var compressions = map[string]string{
	".tar.gz": "gzip", ".tgz": "gzip",
	".tar.xz": "xz", ".txz": "xz",
	".tar.zst": "zstd", ".tar.zstd": "zstd", ".tzst": "zstd",
}

// nameOfArchive tells whether the name of a file says that it is an archive, and how that
// is compressed.
func nameOfArchive(path string) (named bool, packed string) {
	name := strings.ToLower(filepath.Base(path))
	if strings.HasSuffix(name, ".tar") {
		return true, ""
	}
	for ending, method := range compressions {
		if strings.HasSuffix(name, ending) {
			return true, method
		}
	}
	return false, ""
}

// openArchive opens an archive; nil for what is to be taken for an image. Its name, or
// --format, and its contents have to agree: a guest can write the header of an archive into
// its raw disk.
func openArchive(ctx context.Context, path string, flags *containerFlags) (*archiveSource, error) {
	said := flags.format == formatTar
	if flags.format != "" && !said {
		if path == piped {
			return nil, cli.Usagef("--format %s: only a tar archive is read from standard input", flags.format)
		}
		return nil, nil
	}
	named, packed := nameOfArchive(path)
	if path == piped {
		return openPiped(ctx)
	}
	if !said && !named {
		return nil, nil
	}
	f, err := hostfile.Open(path)
	if err != nil {
		return nil, err
	}
	s := &archiveSource{path: path, file: f, Reader: io.NewSectionReader(f, 0, f.Size())}
	if err := s.recognize(said, packed); err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, s.Close()))
	}
	return s, nil
}

// interruptible reads a file that may have nothing to give for a long time.
func interruptible(ctx context.Context, f *os.File) io.Reader {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, f)
		w.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	return r
}

func openPiped(ctx context.Context) (*archiveSource, error) {
	s := &archiveSource{path: "standard input"}
	r := bufio.NewReaderSize(interruptible(ctx, os.Stdin), archive.BlockSize)
	s.Reader = r
	head, err := r.Peek(archive.BlockSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	if method := unpack.Recognize(head); method != "" {
		return nil, fmt.Errorf("%s: %w", s.path, s.compressed(method))
	}
	if !archive.RecognizeSaid(head) {
		return nil, fmt.Errorf("%s: %w", s.path, &disk.RefusedError{Reason: "it does not begin with the header of a tar archive",
			Hint: "an image is named, since it is read from everywhere at once"})
	}
	return s, nil
}

// recognize holds the file to what it is said to be, and unpacks it if it is compressed.
func (s *archiveSource) recognize(said bool, packed string) error {
	head, err := s.peek()
	if err != nil {
		return err
	}
	is := unpack.Recognize(head)
	if packed != "" && is == packed || said && is != "" {
		unpacked, err := unpack.Reader(s.Reader, is)
		if err != nil {
			return err
		}
		s.packed, s.Reader, s.unpack = is, unpacked, unpacked
		if head, err = s.peek(); err != nil {
			return fmt.Errorf("unpacking it (%s): %w", is, err)
		}
		packed = ""
	}
	switch {
	case packed == "" && archive.RecognizeSaid(head):
		return nil
	case said:
		return &disk.RefusedError{Reason: "--format says tar, and it does not begin with the header of one",
			Hint: "without --format it is taken for what its name and its header say"}
	}
	what := "tar"
	if packed != "" {
		what = packed
	}
	return &disk.RefusedError{Reason: fmt.Sprintf("its name says %s, and it does not begin with the header of that", what),
		Hint: "say what it is: --format tar, --format raw, or --format with the name of the container"}
}

// peek looks at the first block.
func (s *archiveSource) peek() ([]byte, error) {
	r := bufio.NewReaderSize(s.Reader, archive.BlockSize)
	s.Reader = r
	head, err := r.Peek(archive.BlockSize)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && s.packed == "" {
		err = nil
	}
	return head, err
}

// compressed says why what is compressed is not signed.
func (s *archiveSource) compressed(method string) error {
	from := " <FILE"
	if s.file != nil {
		from = " " + cli.EscapeName(s.path)
	}
	return &disk.RefusedError{Reason: "it is compressed (" + method + "), and is not compressed again",
		Hint: fmt.Sprintf("'%[1]s -dc%[2]s | imagetool sign --key KEY - --out - | %[1]s >NEW' does both", method, from)}
}

// size is how many bytes are to be read; 0 if that is not known.
func (s *archiveSource) size() int64 {
	if s.file == nil || s.packed != "" {
		return 0
	}
	return s.file.Size()
}

// measured adds the size to what is told of the progress.
func (s *archiveSource) measured(update func(signer.Progress)) func(signer.Progress) {
	if update == nil {
		return nil
	}
	return func(p signer.Progress) {
		p.TotalBytes = s.size()
		update(p)
	}
}

func (s *archiveSource) Close() (err error) {
	if s.unpack != nil {
		err = s.unpack.Close()
	}
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// noFiles is for the commands that look into file systems.
func noFiles(what string) error {
	return cli.WithHint(cli.Usagef("%s: a tar archive has no file system to look into: only inspect, sign and verify read one", what),
		"'tar --xattrs -tvvf ARCHIVE' lists what is in it, and 'tar -xOf ARCHIVE NAME' prints a file")
}

// refuseFlags names a flag that means nothing for an archive.
func refuseFlags(cmd *cobra.Command, reasons map[string]string) error {
	for _, name := range []string{"in-place", "partition", "leave-out", "sector-size", "backing", "break-seals", "profile", "kernel", "policy", "no-lockdown"} {
		if reason := reasons[name]; reason != "" && cmd.Flags().Changed(name) {
			return cli.Usagef("--%s: a tar archive %s", name, reason)
		}
	}
	return nil
}

// ofImages are the flags that sign and verify have for images alone.
var ofImages = map[string]string{
	"partition":   "has no partitions",
	"leave-out":   "has no partitions",
	"sector-size": "has no partition table",
	"backing":     "has no backing file",
}
