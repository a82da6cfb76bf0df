package hostile

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/vmseal/vmseal/scripts/hostile/base"
	"github.com/vmseal/vmseal/scripts/hostile/mutate"
)

type options struct {
	count     int
	seed      uint64
	jobs      int
	only      int
	kind      string
	imagetool string
	keep      string
	json      bool
	verbose   bool

	containers bool
	archives   bool
	lvm        bool
}

// Main is the program of scripts/soak. It gives the exit code.
func Main() int {
	if len(os.Args) > 2 && os.Args[1] == helperArgument {
		if err := help(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "error: %v\n", err)
			return 1
		}
		return 0
	}
	var o options
	flag.IntVar(&o.count, "count", 20000, "how many images")
	flag.Uint64Var(&o.seed, "seed", 1, "what the choice of damage starts from")
	flag.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "images at a time")
	flag.IntVar(&o.only, "only", -1, "make the image with this `number` alone, and keep it")
	flag.StringVar(&o.kind, "kind", "", "only this kind of file system; the numbers then mean other images")
	flag.StringVar(&o.imagetool, "imagetool", "", "the `program`; if not given, the one in the folder VMSEAL_BIN, or else it is built")
	flag.StringVar(&o.keep, "keep", "", "`folder` for the images that show a fault; a new one if not given")
	flag.BoolVar(&o.containers, "containers", false, "spoil qcow2, VMDK, VHD, VHDX and VDI images instead of file systems")
	flag.BoolVar(&o.archives, "archives", false, "spoil tar archives instead of file systems")
	flag.BoolVar(&o.lvm, "lvm", false, "spoil the metadata of LVM2 instead of file systems")
	flag.BoolVar(&o.json, "json", false, "print the summary as JSON")
	flag.BoolVar(&o.verbose, "v", false, "print a line for each image")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := o.run(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
	}
	if !ok || err != nil {
		return 1
	}
	return 0
}

func (o *options) run(ctx context.Context) (ok bool, err error) {
	dir, err := os.MkdirTemp("", "vmseal-hostile-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	bed, err := newBed(ctx, o, dir)
	if err != nil {
		return false, err
	}
	start := time.Now()
	s := newSummary(o.seed)
	numbers := make(chan int)
	var workers sync.WaitGroup
	for w := range o.jobs {
		workers.Go(func() {
			for n := range numbers {
				r := bed.try(ctx, n, filepath.Join(dir, fmt.Sprint("worker-", w)))
				if ctx.Err() == nil { // else everything was killed
					s.add(r, o.verbose)
				}
			}
		})
	}
	o.feed(ctx, numbers)
	workers.Wait()
	s.Seconds = time.Since(start).Seconds()
	if err := s.print(os.Stdout, o.json); err != nil {
		return false, err
	}
	return len(s.Faults) == 0 && s.Images > 0, ctx.Err()
}

func (o *options) feed(ctx context.Context, numbers chan<- int) {
	defer close(numbers)
	if o.only >= 0 {
		numbers <- o.only
		return
	}
	for n := range o.count {
		select {
		case numbers <- n:
		case <-ctx.Done():
			return
		}
	}
}

// A bed is what all images share.
type bed struct {
	*options
	images    []*mutate.Image
	plan      *plan
	spoilt    spoiler // instead of images; nil for none
	imagetool string
	signer    string // for archives
	key       string
	public    string
}

func newBed(ctx context.Context, o *options, dir string) (*bed, error) {
	b := &bed{options: o, imagetool: o.imagetool}
	if err := b.makeSpoiler(ctx, filepath.Join(dir, "whole")); err != nil {
		return nil, err
	}
	for _, r := range base.Recipes {
		if b.spoilt != nil && len(b.images) > 0 {
			break
		}
		if o.kind != "" && r.Name != o.kind {
			continue
		}
		folder := filepath.Join(dir, "base-"+r.Name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			return nil, err
		}
		im, err := r.Build(ctx, folder)
		if err != nil {
			return nil, err
		}
		if err := os.RemoveAll(folder); err != nil {
			return nil, err
		}
		b.images = append(b.images, im)
	}
	if len(b.images) == 0 {
		return nil, fmt.Errorf("there is no kind %q", o.kind)
	}
	b.plan = newPlan(b.images, o.seed)
	if err := b.makeKey(dir); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	if built := os.Getenv("VMSEAL_BIN"); b.imagetool == "" && built != "" {
		b.imagetool = filepath.Join(built, "imagetool")
	}
	if b.imagetool == "" {
		b.imagetool = filepath.Join(dir, "imagetool")
		if err := build(ctx, b.imagetool, "imagetool/cmd/imagetool"); err != nil {
			return nil, err
		}
	}
	if o.archives {
		b.signer = filepath.Join(dir, "signer")
		if err := build(ctx, b.signer, "signer/cmd/signer"); err != nil {
			return nil, err
		}
	}
	if o.keep == "" {
		o.keep = filepath.Join(filepath.Dir(dir), "kept-"+filepath.Base(dir))
	}
	return b, nil
}

// A spoiler makes what is no raw image.
type spoiler interface {
	make(n int) *specimen
}

// makeSpoiler makes what is to be spoilt, in a folder that is not there yet.
func (b *bed) makeSpoiler(ctx context.Context, folder string) error {
	if !b.containers && !b.archives && !b.lvm {
		return nil
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	if b.archives {
		a, err := newArchives(ctx, folder, b.seed)
		if err != nil {
			return fmt.Errorf("making archives: %w", err)
		}
		b.spoilt = a
		return nil
	}
	if b.lvm {
		d, err := newLVMDisks(ctx, folder, b.seed)
		if err != nil {
			return fmt.Errorf("making disks with LVM2: %w", err)
		}
		b.spoilt = d
		return nil
	}
	c, err := newContainers(ctx, folder, b.seed)
	if err != nil {
		return fmt.Errorf("making containers: %w", err)
	}
	b.spoilt = c
	return nil
}
