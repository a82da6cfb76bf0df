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
	reads       string
	readsBy     string
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
systems may be exempt that cannot hold programs. --policy @default takes the policy that
--print-policy prints: a start for guests with systemd, like Debian.

With --reads, the policy that is printed also appraises reading: no file of the file
system with that UUID can be opened without a signature, so that a configuration file, a
script or data that was changed on the disk is not read by mistake. --reads-by root asks
so of root's processes only. It is for a system disk that the host keeps read-only. Each
file costs a hit when it is first opened, which must be without O_DIRECT. Files on other
disks are not asked about.

--no-lockdown leaves out the look at lockdown, for a kernel that was built without it
(CONFIG_SECURITY_LOCKDOWN_LSM). Root of such a guest can change its kernel, and so run
what nobody signed.

Give the same file to 'imagetool profile' or 'imagetool sign --profile': the enforcer
holds the guest to the policy in the profile, and freezes it over any other rule. Give
the initrd with its overlay to 'imagetool profile --initrd'.`,
		Example: `  imagetool initrd --print-policy > vm.policy
  imagetool initrd --policy vm.policy --out overlay.cpio.gz

  # with reading: the UUID as 'blkid' prints it
  imagetool initrd --print-policy --reads 01234567-89ab-cdef-0123-456789abcdef > vm.policy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "`file` with the IMA policy, or @default")
	flags.StringVar(&f.out, "out", "", "`file` to write")
	flags.BoolVar(&f.force, "force", false, "replace what is there")
	registerUnlocked(cmd, &f.unlocked)
	flags.BoolVar(&f.printPolicy, "print-policy", false, "print a policy to start from, and do nothing else")
	flags.StringVar(&f.reads, "reads", "", "`UUID` of the file system that no file may be read from without a signature")
	flags.StringVar(&f.readsBy, "reads-by", "all", "`who` --reads is about: all or root")
	cmd.MarkFlagsRequiredTogether("policy", "out")
	cmd.MarkFlagsMutuallyExclusive("policy", "reads")
	cmd.MarkFlagsMutuallyExclusive("policy", "reads-by")
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
		text, err := f.text(cmd)
		if err == nil {
			out.Printf("%s", text)
		}
		return err
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

// text is the policy to print.
func (f *initrdFlags) text(cmd *cobra.Command) (string, error) {
	switch by := cmd.Flags().Changed("reads-by"); {
	case f.readsBy != "all" && f.readsBy != "root":
		return "", cli.Usagef("--reads-by %s: give all or root", f.readsBy)
	case f.reads == "" && by:
		return "", cli.Usagef("--reads-by goes with --reads UUID")
	case f.reads == "" && !cmd.Flags().Changed("reads"):
		return initrd.DebianPolicy, nil
	}
	rules, err := initrd.ReadsPolicy(f.reads, f.readsBy == "root")
	if err != nil {
		return "", cli.Usagef("--reads %v", err)
	}
	return initrd.DebianPolicy + rules, nil
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
