package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/imagetool/initrd"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/signer/cli"
)

type initrdFlags struct {
	policy      string
	out         string
	force       bool
	unlocked    bool
	printPolicy bool
}

func initrdCommand() *cobra.Command {
	var f initrdFlags
	cmd := &cobra.Command{
		Use:   "initrd --policy FILE --out OVERLAY",
		Short: "Make what gives a guest its IMA policy at boot",
		Long: `Initrd makes a small archive to append to the initrd of a guest. With it, the first
program that the guest's kernel starts is /vmseal-init: it makes sure that the kernel
is locked down, switches kexec off until the next boot, gives the kernel the IMA policy,
and goes on with the /init of that initrd. So the policy is in force before anything
of the guest's disk runs. When a step fails, its name is printed, and the kernel panics.

  imagetool initrd --print-policy > vm.policy
  imagetool initrd --policy vm.policy --out overlay.cpio.gz
  cat initrd.img overlay.cpio.gz > initrd-sealed.img

Boot the guest's own kernel with initrd-sealed.img and these parameters:

  rdinit=/vmseal-init ima_appraise=enforce lockdown=integrity panic=-1

Kernel, initrd and parameters come from the host (with QEMU: -kernel, -initrd,
-append, and -no-reboot), never from the guest's disk. Initrds of initramfs-tools and
of dracut will do. To one that is compressed with lz4, append four zero bytes first.

A policy that does not protect is refused: programs, executable mappings and kernel
modules must need a signature (BPRM_CHECK, MMAP_CHECK, MODULE_CHECK), every appraise
rule must name its function and, but for FILE_CHECK, ask for a signature, and only file
systems may be exempt that cannot hold programs. --print-policy prints one to start
from, for guests like Debian.

--no-lockdown leaves out the look at lockdown, for a kernel that was built without it
(CONFIG_SECURITY_LOCKDOWN_LSM). Root of such a guest can change its kernel, and so run
what nobody signed.

Give the same file to 'imagetool profile' or 'imagetool sign --profile': the enforcer
holds the guest to the policy in the profile, and freezes it over any other rule. Give
the initrd with its overlay to 'imagetool profile --initrd'.`,
		Example: `  imagetool initrd --print-policy > vm.policy
  imagetool initrd --policy vm.policy --out overlay.cpio.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "`file` with the IMA policy")
	flags.StringVar(&f.out, "out", "", "`file` to write")
	flags.BoolVar(&f.force, "force", false, "replace what is there")
	registerUnlocked(cmd, &f.unlocked)
	flags.BoolVar(&f.printPolicy, "print-policy", false, "print a policy to start from, and do nothing else")
	cmd.MarkFlagsRequiredTogether("policy", "out")
	cmd.MarkFlagsOneRequired("policy", "print-policy")
	cmd.MarkFlagsMutuallyExclusive("policy", "print-policy")
	cmd.MarkFlagsMutuallyExclusive("no-lockdown", "print-policy")
	return cmd
}

// overlayObject is the "overlay" object of initrd.
type overlayObject struct {
	Type  string   `json:"type"`
	Path  string   `json:"path"`
	Bytes int      `json:"bytes"`
	Rules []string `json:"rules"`
}

func (f *initrdFlags) run(cmd *cobra.Command) error {
	out := cli.Out(cmd)
	if f.printPolicy {
		if out.JSON {
			return cli.Usagef("--print-policy prints text: give no --json")
		}
		out.Printf("%s", initrd.DebianPolicy)
		return nil
	}
	p, err := readPolicy(cmd, f.policy, f.out)
	if err != nil {
		return err
	}
	if f.unlocked {
		warnUnlocked(cmd)
	}
	overlay := initrd.Overlay(p, initrd.Options{NoLockdown: f.unlocked})
	if err := writeFile(f.out, overlay, f.force); err != nil {
		return err
	}
	out.Object(overlayObject{"overlay", cli.Escape(f.out), len(overlay), p.Rules()})
	out.Infof("%s: %d bytes, %d rules\n", cli.EscapeName(f.out), len(overlay), len(p.Rules()))
	return nil
}

// writeFile makes a file that appears as a whole or not at all.
func writeFile(path string, contents []byte, force bool) error {
	o, err := output.Create(path, 0o666, force)
	if err != nil {
		return err
	}
	defer o.Abort()
	if _, err := o.Write(contents); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return output.Commit(nil, o)
}
