package hostile

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A result is what became of one specimen.
type result struct {
	*specimen
	children []*child // runs of imagetool
	refusal  string   // why it was not signed
	alone    bool     // and e2fsck finds nothing
	faults   []string
	kept     string
}

func (r *result) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// try makes a specimen, lets imagetool loose on it and keeps it if there was a
// fault.
func (b *bed) try(ctx context.Context, n int, dir string) *result {
	r := &result{}
	if b.spoilt != nil {
		r.specimen = b.spoilt.make(n)
	} else {
		r.specimen = b.plan.make(n)
	}
	err := b.examine(ctx, r, dir)
	if err == nil && (len(r.faults) > 0 || b.only >= 0) {
		err = b.keepImage(r)
	}
	if err != nil {
		r.fault("test bed: %v", err)
	}
	return r
}

func (b *bed) examine(ctx context.Context, r *result, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	image := filepath.Join(dir, "image"+r.ext)
	if err := os.WriteFile(image, r.bytes, 0o644); err != nil {
		return err
	}
	if r.mend {
		if err := r.repair(ctx, image); err != nil {
			return err
		}
	}
	t := &trial{bed: b, result: r, dir: dir, image: image}
	t.imagetool(ctx, "inspect", image)
	t.imagetool(ctx, "verify", "--trust", b.public, image)
	switch {
	case b.archives:
		t.signArchive(ctx)
		return t.err
	case r.ext != "":
		t.signContainer(ctx)
	case r.lvm != nil:
		t.signLVM(ctx)
	default:
		t.sign(ctx)
	}
	return t.err
}

// A trial is one specimen under examination. The first error of the test bed
// ends it.
type trial struct {
	*result
	bed   *bed
	dir   string
	image string
	err   error
}

func (t *trial) imagetool(ctx context.Context, args ...string) *child {
	if t.err != nil {
		return &child{usage: usage{Code: -1}}
	}
	c, err := run(ctx, hung, append([]string{t.bed.imagetool}, args...)...)
	if err != nil {
		t.err = err
		return &child{usage: usage{Code: -1}}
	}
	t.children = append(t.children, c)
	for _, f := range c.faults() {
		t.fault("%s\n%s", f, c.stderr)
	}
	return c
}

func (t *trial) sign(ctx context.Context) {
	t.signCopy(ctx, func() { t.alone = !t.agrees(ctx) }, func(out string, written []byte) { t.judge(ctx, out, written) })
}

// signCopy signs the image in a copy, and then in place, which must come out the same. It reports a refusal to the one
// function, and gives the copy to the other.
func (t *trial) signCopy(ctx context.Context, refused func(), judge func(out string, written []byte)) {
	out := filepath.Join(t.dir, "signed")
	c := t.imagetool(ctx, "sign", "--key", t.bed.key, t.image, "--out", out)
	t.expectBytes("sign --out", t.image, t.bytes)
	if !signed(c) {
		t.refusal = reason(c)
		refused()
		t.expectFiles("sign --out", "image")
		t.signInPlace(ctx, nil)
		return
	}
	t.expectFiles("sign --out", "image", "signed")
	written, err := os.ReadFile(out)
	if err != nil {
		t.err = err
		return
	}
	judge(out, written)
	if v := t.imagetool(ctx, "verify", "--trust", t.bed.public, out); v.Code != c.Code {
		t.fault("verify of the signed image: exit %d\n%s%s", v.Code, v.stdout, v.stderr)
	}
	if err := os.Remove(out); err != nil {
		t.err = err
	}
	t.signInPlace(ctx, written)
}

// signed is also an image of which a partition was left out, for which there is a code
// of its own: a spoilt table may have one more.
func signed(c *child) bool { return c.Code == 0 || c.Code == 3 }

// signInPlace must come to the same result as signing a copy, or leave the
// image alone. One image in three is enough.
func (t *trial) signInPlace(ctx context.Context, want []byte) {
	if t.number%3 != 0 {
		return
	}
	c := t.imagetool(ctx, "sign", "--key", t.bed.key, t.image, "--in-place")
	t.expectFiles("sign --in-place", "image")
	if signed(c) != (want != nil) {
		t.fault("sign --in-place: exit %d, but not with --out\n%s", c.Code, c.stderr)
	}
	if want == nil {
		want = t.bytes
	}
	t.expectBytes("sign --in-place", t.image, want)
}

func (t *trial) expectBytes(after, path string, want []byte) {
	if t.err != nil {
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.err = err
	} else if !bytes.Equal(got, want) {
		t.fault("%s: the image is not what it should be", after)
	}
}

// expectFiles wants these files in the folder, and nothing else.
func (t *trial) expectFiles(after string, want ...string) {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		t.err = err
		return
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.fault("%s: left %q behind", after, got)
	}
}

// keepImage writes the image and a description into the folder for those.
func (b *bed) keepImage(r *result) error {
	if err := os.MkdirAll(b.keep, 0o755); err != nil {
		return err
	}
	r.kept = filepath.Join(b.keep, fmt.Sprintf("%d-%d.img", b.seed, r.number))
	if err := os.WriteFile(r.kept, r.bytes, 0o644); err != nil {
		return err
	}
	text := fmt.Sprintf("seed %d, number %d, kind %s\n%s\n\n%s\n", b.seed, r.number, r.kind, strings.Join(r.damage, "\n"), strings.Join(r.faults, "\n"))
	for _, c := range r.children {
		text += fmt.Sprintf("\n%s: exit %d, %v CPU, %d MB\n%s%s", c.name(), c.Code, c.CPU, c.RSS>>20, c.stdout, c.stderr)
	}
	return os.WriteFile(strings.TrimSuffix(r.kept, ".img")+".txt", []byte(text), 0o644)
}
