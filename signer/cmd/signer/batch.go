package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys/input"
)

// maxLine is room for a digest and the longest escaped path.
const maxLine = 64 << 10

// item is one line of a batch on its way.
type item struct {
	digest, value []byte
	name          string
	done          chan error // of the signing, once
}

// batch labels the digests of all lines. They are signed in parallel and printed
// in their order, up to the first that fails.
func (b *blobs) batch(ctx context.Context, r io.Reader) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0) + 1) // and the printer
	items := make(chan *item, 64)
	g.Go(func() error { return b.printAll(ctx, items) })
	err := b.readAll(ctx, g, r, items)
	close(items)
	// A failed line stands behind those that are being printed.
	return errors.Join(g.Wait(), err)
}

func (b *blobs) readAll(ctx context.Context, g *errgroup.Group, r io.Reader, items chan<- *item) error {
	scan := bufio.NewScanner(input.Reader(ctx, r))
	scan.Buffer(nil, maxLine)
	n := 1
	for ; scan.Scan(); n++ {
		it, err := parseLine(scan.Text(), b.opt.Hash)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		it.done = make(chan error, 1)
		select {
		case items <- it:
		case <-ctx.Done():
			return nil // the printer, or whoever cancelled, says why
		}
		g.Go(func() error {
			var err error
			it.value, err = b.lab.Label(it.digest)
			it.done <- err
			return nil
		})
	}
	if err := scan.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d bytes", n, maxLine)
	} else if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

func (b *blobs) printAll(ctx context.Context, items <-chan *item) error {
	for it := range items {
		select {
		case err := <-it.done:
			if err != nil {
				return err
			}
			b.print(it.digest, it.value, it.name)
			if len(items) == 0 {
				b.out.Flush() // someone may wait for this answer with the next question
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return ctx.Err()
}

// parseLine reads a line of the sha*sum tools: the digest, a space, a space or an
// asterisk for binary, the name. A backslash in front says that \, line feed and
// carriage return in the name are escaped.
func parseLine(line string, hash ima.HashID) (*item, error) {
	line, escaped := strings.CutPrefix(line, `\`)
	digest, name, ok := strings.Cut(line, " ")
	if !ok || len(name) < 2 || name[0] != ' ' && name[0] != '*' {
		return nil, errors.New("not of the form \"DIGEST  NAME\"")
	}
	sum, err := parseDigest(digest, hash)
	if err != nil {
		return nil, err
	}
	name = name[1:]
	if escaped {
		if name, err = unescape(name); err != nil {
			return nil, err
		}
	}
	return &item{digest: sum, name: name}, nil
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case i < len(s) && s[i] == '\\':
			b.WriteByte('\\')
		case i < len(s) && s[i] == 'n':
			b.WriteByte('\n')
		case i < len(s) && s[i] == 'r':
			b.WriteByte('\r')
		default:
			return "", errors.New("bad escape in the name")
		}
	}
	return b.String(), nil
}
