package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmseal/vmseal/imagetool/initrd"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/profile"
	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/signer/cli"
)

type profileFlags struct {
	key      cli.KeyFlags
	selected selectFlags
	kernel   string
	policy   string
	initrd   string
	unlocked bool
	explains bool
	out      string
	force    bool
}

// kernelHelp is what the commands that look for a kernel have in common.
const kernelHelp = `Of several kernels in an image it is the one to whose name /vmlinuz points, where
that is a symbolic link; else --kernel PATH has to say which one the guest boots.`

func profileCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "profile --key KEY --policy POLICY IMAGE|VMLINUZ --out FILE",
		Short: "Write the signed profile of a guest's kernel and policy",
		Long: `Profile writes what the enforcer must know of the kernel that a guest boots: which
build it is, where the functions and variables lie that the enforcer looks at, and
how some structures are laid out. All of it comes from the kernel itself, given as a
file (vmlinuz or vmlinux) or as the image that it lies in; no debug package is needed.

The IMA policy that the guest is to load is written into it too: the file that
'imagetool initrd --policy' is given. The enforcer freezes a guest that loads any other
rule. A policy that does not protect is refused; 'imagetool initrd --help' says when.

The profile names the file of the kernel by its SHA-256, and with --initrd FILE the
initrd that the guest is booted with, too: 'enforcer check' compares them.

` + kernelHelp + `

The profile is signed with the key: the enforcer takes none that was not signed by a
key of its trust store. The same kernel, policy, key and version give the same bytes.
'imagetool sign --profile FILE' writes it along with an image.

` + cli.KeyHelp + `

A kernel is refused with the reason if anything about it is missing, ambiguous or
unknown: a kernel without IMA appraisal, for instance, without BTF, or one in which a
function has other parameters than the enforcer knows. --explain prints, as a table, what
a profile records of how the kernel was built, and writes none.

` + lockdownHelp,
		Example: `  imagetool initrd --print-policy > vm.policy
  imagetool profile --key key/private.pem --policy vm.policy signed.raw --out guest.profile
  imagetool profile --key key/private.pem --policy vm.policy signed.raw \
      --kernel /boot/vmlinuz-6.1.0-56-amd64 --out guest.profile
  imagetool profile --key key/private.pem --policy vm.policy /boot/vmlinuz-$(uname -r) \
      --out host.profile
  imagetool profile --key key/private.pem --policy vm.policy --initrd guest.initrd \
      vmlinuz --out guest.profile
  imagetool profile --explain signed.raw`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	registerKey(cmd, &f.key)
	f.selected.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "", "`file` to write the profile to")
	flags.BoolVar(&f.force, "force", false, "replace the output if it is there")
	flags.StringVar(&f.policy, "policy", "", "`file` with the IMA policy that the guest loads, or @default")
	flags.StringVar(&f.initrd, "initrd", "", "`file` with the initrd that the guest is booted with")
	registerKernel(cmd, &f.kernel, "`path` of the kernel in the image")
	registerUnlocked(cmd, &f.unlocked)
	flags.BoolVar(&f.explains, "explain", false, "print how the kernel was built, and write nothing")
	return cmd
}

// lockdownHelp is what the commands that make profiles have in common.
const lockdownHelp = `The enforcer freezes a guest whose kernel is not locked down (lockdown=integrity), since
its root could then change the kernel itself. A kernel that was built without lockdown is
refused, unless --no-lockdown takes that from the profile.`

// registerUnlocked adds --no-lockdown.
func registerUnlocked(cmd *cobra.Command, unlocked *bool) {
	cmd.Flags().BoolVar(unlocked, "no-lockdown", false, "let the guest run with a kernel that is not locked down")
}

// warnUnlocked says each time what is lost.
func warnUnlocked(cmd *cobra.Command) {
	cli.Out(cmd).Warn(errors.New("--no-lockdown: root of a guest whose kernel is not locked down can change the kernel, and so run what nobody signed"))
}

// registerKernel adds --kernel. What completes names of files knows none in images.
func registerKernel(cmd *cobra.Command, path *string, usage string) {
	cmd.Flags().StringVar(path, "kernel", "", usage)
	if err := cmd.RegisterFlagCompletionFunc("kernel", cobra.NoFileCompletions); err != nil {
		panic(err)
	}
}

// registerKey adds the flags of a key, but for the hash: profiles have only one. That there has to be a key
// is for run to say, since --explain goes without.
func registerKey(cmd *cobra.Command, key *cli.KeyFlags) {
	all := new(cobra.Command)
	key.Register(all)
	all.Flags().VisitAll(func(f *pflag.Flag) {
		delete(f.Annotations, cobra.BashCompOneRequiredFlag)
		if f.Name != "hash" {
			cmd.Flags().AddFlag(f)
		}
	})
}

// run reads policy, initrd and kernel before it asks for a passphrase.
func (f *profileFlags) run(cmd *cobra.Command, path string) error {
	if f.explains {
		return f.explain(cmd, path)
	}
	if !cmd.Flags().Changed("key") {
		return cli.Usagef(`required flag(s) "key" not set`)
	}
	if f.out == "" {
		return cli.Usagef("the profile has to go somewhere: --out is missing")
	}
	if f.policy == "" {
		return cli.WithHint(cli.Usagef("what policy does the guest load? --policy is missing"), policyHint)
	}
	if err := f.key.CheckOutputs(f.out); err != nil {
		return err
	}
	if err := f.selected.check(cmd); err != nil {
		return err
	}
	boot, err := f.boot(cmd)
	if err != nil {
		return err
	}
	k, err := f.read(cmd, path)
	if err != nil {
		return err
	}
	out := cli.Out(cmd)
	key, err := f.key.Open(cmd.Context(), out)
	if err != nil {
		return err
	}
	sealed, err := profile.Seal(k, boot, key)
	if err != nil {
		return err
	}
	if err := sealed.Write(f.out, f.force); err != nil {
		return err
	}
	out.Object(newProfileObject(f.out, sealed, key.KeyID.String()))
	p := sealed.Profile
	out.Infof("%s: kernel %s, %d rules, signed by key %s\n", cli.EscapeName(f.out), cli.EscapeName(p.Release), len(p.Policy), key.KeyID)
	return nil
}

// boot reads what the guest is booted with beside the kernel.
func (f *profileFlags) boot(cmd *cobra.Command) (boot profile.Boot, err error) {
	if boot.Policy, err = readPolicy(cmd, f.policy, f.out); err != nil {
		return boot, err
	}
	if f.initrd != "" {
		if boot.Initrd, err = digestInitrd(cmd, f.initrd, f.out); err != nil {
			return boot, err
		}
	}
	if boot.NoLockdown = f.unlocked; f.unlocked {
		warnUnlocked(cmd)
	}
	return boot, nil
}

// digestInitrd gives the digest of an initrd, which the output may not be.
func digestInitrd(cmd *cobra.Command, path, output string) ([]byte, error) {
	in, err := input.Open(cmd.Context(), path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	digest, err := initrd.Digest(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if sameFile(path, output) {
		return nil, fmt.Errorf("output %s is the initrd", output)
	}
	return digest, nil
}

// read gives the kernel of an image, or the one that the file is. It makes sure
// that the output is neither.
func (f *profileFlags) read(cmd *cobra.Command, path string) (*profile.Kernel, error) {
	k, err := profile.ReadKernel(path)
	if err != nil {
		return nil, err
	}
	if k != nil {
		if f.kernel != "" || cmd.Flags().Changed("partition") {
			return nil, cli.Usagef("%s is a kernel itself: give --kernel and --partition with an image", path)
		}
		return k, f.checkOutput(path)
	}
	img, err := openForReading(cmd, path, &f.selected)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	if err := img.CheckOutput(f.out, f.force); err != nil {
		return nil, err
	}
	if k, err = profile.FindKernel(img, f.kernel); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

func (f *profileFlags) checkOutput(input string) error {
	in, err := os.Stat(input)
	if err != nil {
		return err
	}
	out, err := os.Stat(f.out)
	switch {
	case err != nil: // most likely there is none; else writing will tell
		return nil
	case os.SameFile(in, out):
		return fmt.Errorf("output %s is the input", f.out)
	case !f.force:
		return fmt.Errorf("%s: %w", f.out, output.ErrExists)
	}
	return nil
}

// profileObject is the "profile" object.
type profileObject struct {
	Type    string `json:"type"`
	Out     string `json:"out"`
	Kernel  string `json:"kernel"`
	Release string `json:"release"`
	BuildID string `json:"build_id"`
	Rules   int    `json:"rules"`
	KeyID   string `json:"key_id"`
}

func newProfileObject(out string, s *profile.Sealed, keyID string) profileObject {
	return profileObject{
		Type: "profile", Out: cli.Escape(out), Kernel: cli.Escape(s.Kernel),
		Release: cli.Escape(s.Profile.Release), BuildID: s.Profile.BuildID, Rules: len(s.Profile.Policy), KeyID: keyID,
	}
}
