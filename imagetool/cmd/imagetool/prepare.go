package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/policy"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/initrd"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/profile"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
)

// The files that prepare writes.
const (
	kernelFile  = "vmlinuz"
	initrdFile  = "initrd"
	policyFile  = "policy"
	profileFile = "profile"
	cmdlineFile = "cmdline"
)

type prepareFlags struct {
	key      cli.KeyFlags
	trust    cli.TrustFlag
	selected selectFlags
	kernel   string
	initrd   string
	policy   string
	unlocked bool
	out      string
	force    bool
}

func prepareCommand() *cobra.Command {
	var f prepareFlags
	cmd := &cobra.Command{
		Use:   "prepare --key KEY --trust TRUST IMAGE --out DIR",
		Short: "Write what a guarded guest boots with",
		Long: `Prepare writes into the folder DIR what the host needs to boot a signed image under the
enforcer:

  vmlinuz   the kernel of the image
  initrd    its initrd, with what loads the IMA policy before anything else
  policy    that policy: the one of --policy, or the one of 'imagetool initrd --print-policy'
  profile   what the enforcer must know of kernel, initrd and policy, signed with the key
  cmdline   the kernel's parameters, in one line

Kernel and initrd are taken only if their signatures hold; else nothing is written, and
the exit code is 3. The same can be done in steps by the commands cat, initrd and profile.

` + kernelHelp + ` Of initrds it is the one that
belongs to that kernel by its name; else --initrd PATH has to say which one.

` + cli.KeyHelp + `

` + lockdownHelp,
		Example: `  imagetool prepare --key keys/private.pem --trust keys/cert.pem signed.img --out boot
  qemu-system-x86_64 -S -no-reboot -gdb unix:guest.gdb,server=on,wait=off -m 1G \
      -cpu max,la57=off,cx16=off,svm=off,vmx=off -kernel boot/vmlinuz -initrd boot/initrd \
      -append "$(cat boot/cmdline) console=ttyS0" -nographic \
      -drive file=signed.img,format=raw,if=virtio,readonly=on`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	registerKey(cmd, &f.key)
	f.trust.Register(cmd)
	f.selected.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "", "`folder` to write to, which is made if there is none")
	flags.BoolVar(&f.force, "force", false, "replace what is there")
	flags.StringVar(&f.policy, "policy", "", "`file` with the IMA policy that the guest loads")
	flags.StringVar(&f.initrd, "initrd", "", "`path` of the initrd in the image")
	registerKernel(cmd, &f.kernel, "`path` of the kernel in the image")
	if err := cmd.RegisterFlagCompletionFunc("initrd", cobra.NoFileCompletions); err != nil {
		panic(err)
	}
	registerUnlocked(cmd, &f.unlocked)
	for _, name := range []string{"key", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	return cmd
}

func (f *prepareFlags) run(cmd *cobra.Command, image string) error {
	if err := errors.Join(f.selected.check(cmd), f.key.CheckOutputs(f.outputs()...)); err != nil {
		return err
	}
	trust, err := f.trust.Load()
	if err != nil {
		return err
	}
	p, err := f.rules(cmd)
	if err != nil {
		return err
	}
	if f.unlocked {
		warnUnlocked(cmd)
	}
	img, err := openForReading(cmd, image, &f.selected)
	if err != nil {
		return err
	}
	defer img.Close()
	for _, out := range f.outputs() {
		if err := img.CheckOutput(out, f.force); err != nil && !errors.Is(err, fs.ErrNotExist) { // of the folder
			return err
		}
	}
	b, err := f.find(cmd.Context(), img, trust)
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	if b.root == "" {
		cli.Out(cmd).Warn(errors.New("cannot tell which file system is the guest's root: add root= to " + filepath.Join(f.out, cmdlineFile)))
	}
	key, err := f.key.Open(cmd.Context(), cli.Out(cmd))
	if err != nil {
		return err
	}
	return f.write(cmd, b, p, key)
}

// outputs are the paths that prepare writes to.
func (f *prepareFlags) outputs() (paths []string) {
	for _, name := range []string{kernelFile, initrdFile, policyFile, profileFile, cmdlineFile} {
		paths = append(paths, filepath.Join(f.out, name))
	}
	return paths
}

// rules is the policy that was given, or the one to start from.
func (f *prepareFlags) rules(cmd *cobra.Command) (*policy.Policy, error) {
	if f.policy == "" {
		return policy.Parse([]byte(initrd.DebianPolicy))
	}
	return readPolicy(cmd, f.policy, f.outputs()...)
}

// booted is what is taken out of the image.
type booted struct {
	kernel  *profile.Kernel
	initrd  string
	content io.Reader // of the initrd
	root    string    // UUID of the file system; "" if it is not known
}

// find reads what the image boots with, if its signatures hold.
func (f *prepareFlags) find(ctx context.Context, img *imagetool.Image, trust *keys.TrustStore) (b booted, err error) {
	if b.kernel, err = profile.FindKernel(img, f.kernel); err != nil {
		return b, err
	}
	if _, err = openSigned(ctx, img, b.kernel.Path, trust); err != nil {
		return b, err
	}
	if b.initrd = f.initrd; b.initrd == "" {
		if b.initrd, err = profile.FindInitrd(img, b.kernel.Path); err != nil {
			if errors.Is(err, profile.ErrNoInitrd) {
				err = cli.WithHint(err, "--initrd PATH says which one it is")
			}
			return b, err
		}
	}
	if b.content, err = openSigned(ctx, img, b.initrd, trust); err != nil {
		return b, err
	}
	b.root, err = profile.RootUUID(img)
	return b, err
}

// cmdline has the kernel's parameters.
func (f *prepareFlags) cmdline(root string) string {
	words := "rdinit=/vmseal-init ima_appraise=enforce nokaslr panic=-1 ro"
	if !f.unlocked {
		words += " lockdown=integrity"
	}
	if root != "" {
		words += " root=UUID=" + root
	}
	return words
}

// openSigned opens a file of the image, if its signature holds.
func openSigned(ctx context.Context, img *imagetool.Image, path string, trust *keys.TrustStore) (io.Reader, error) {
	s, name, err := img.Find(path)
	if err != nil {
		return nil, err
	}
	in, err := s.Follow(name)
	if err != nil {
		return nil, aboutPath(path, err)
	}
	if !in.Stat().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if err := requireSigned(ctx, s, in, path, trust); err != nil {
		return nil, err
	}
	c, err := s.Open(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cancellable{ctx, c}, nil
}

// preparedObject is the "prepared" object.
type preparedObject struct {
	Type    string `json:"type"`
	Folder  string `json:"folder"`
	Kernel  string `json:"kernel"`
	Initrd  string `json:"initrd"`
	Release string `json:"release"`
	BuildID string `json:"build_id"`
	Rules   int    `json:"rules"`
	KeyID   string `json:"key_id"`
	Cmdline string `json:"cmdline"`
}

// write makes all of the files, or none of them.
func (f *prepareFlags) write(cmd *cobra.Command, b booted, p *policy.Policy, key signer.Options) (err error) {
	made, err := makeFolder(f.out)
	if err != nil {
		return err
	}
	var files []*output.File
	defer func() {
		for _, o := range files {
			err = errors.Join(err, o.Abort())
		}
		if err != nil && made {
			os.Remove(f.out)
		}
	}()
	create := func(name string) (*output.File, error) {
		o, err := output.Create(filepath.Join(f.out, name), 0o644, f.force) // the enforcer refuses files that a group can write
		if err == nil {
			files = append(files, o)
		}
		return o, err
	}
	joined, err := create(initrdFile)
	if err != nil {
		return err
	}
	digest, err := writeInitrd(joined, b, initrd.Overlay(p, initrd.Options{NoLockdown: f.unlocked}))
	if err != nil {
		return err
	}
	sealed, err := profile.Seal(b.kernel, profile.Boot{Policy: p, Initrd: digest, NoLockdown: f.unlocked}, key)
	if err != nil {
		return err
	}
	rules := ""
	for _, rule := range p.Rules() {
		rules += rule + "\n"
	}
	for _, file := range []struct {
		name     string
		contents []byte
	}{
		{kernelFile, b.kernel.Data},
		{policyFile, []byte(rules)},
		{profileFile, sealed.File},
		{cmdlineFile, []byte(f.cmdline(b.root) + "\n")},
	} {
		o, err := create(file.name)
		if err != nil {
			return err
		}
		if _, err := o.Write(file.contents); err != nil {
			return fmt.Errorf("writing %s: %w", filepath.Join(f.out, file.name), err)
		}
	}
	if err := output.Commit(nil, files...); err != nil {
		return err
	}
	f.report(cli.Out(cmd), b, sealed, key)
	return nil
}

func (f *prepareFlags) report(out *cli.Output, b booted, sealed *profile.Sealed, key signer.Options) {
	q := sealed.Profile
	out.Object(preparedObject{
		"prepared", cli.Escape(f.out), cli.Escape(b.kernel.Path), cli.Escape(b.initrd), cli.Escape(q.Release), q.BuildID,
		len(q.Policy), key.KeyID.String(), f.cmdline(b.root),
	})
	out.Infof("%s: kernel %s, initrd %s, %d rules, signed by key %s\n",
		cli.EscapeName(f.out), cli.EscapeName(b.kernel.Path), cli.EscapeName(b.initrd), len(q.Policy), key.KeyID)
}

// writeInitrd writes the initrd with the overlay behind it, and gives the digest of both.
func writeInitrd(o *output.File, b booted, overlay []byte) ([]byte, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(initrd.Join(w, b.content, overlay)) }()
	digest, err := initrd.Digest(io.TeeReader(r, o))
	r.CloseWithError(err)
	if err != nil {
		return nil, fmt.Errorf("initrd %s: %w", b.initrd, err)
	}
	return digest, nil
}

// makeFolder tells whether it was not there before.
func makeFolder(path string) (made bool, err error) {
	err = os.Mkdir(path, 0o777)
	if errors.Is(err, fs.ErrExist) {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is there and not a folder", path)
		}
		return false, err
	}
	return err == nil, err
}
