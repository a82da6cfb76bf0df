package main

import (
	"cmp"
	"context"
	"crypto/rsa"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/seals"
	"github.com/vmseal/vmseal/imagetool/sign"
	"github.com/vmseal/vmseal/signer/cli"
	"github.com/vmseal/vmseal/signer/rules"
)

type signFlags struct {
	key      cli.KeyFlags
	selected selectFlags
	out      string
	inPlace  bool
	force    bool
	rules    cli.RulesFlags
	loaded   *rules.Rules
	manifest string
	profile  string
	kernel   string
	policy   string
	unlocked bool
	reuse    string
	dryRun   bool
	dropEVM  bool
	seals    bool
	keep     cli.KeepFlag
	sparse   bool
	jobs     int
}

func signCommand() *cobra.Command {
	var f signFlags
	cmd := &cobra.Command{
		Use:   "sign --key KEY IMAGE {--out FILE | --in-place}",
		Short: "Sign the files of an image, in a copy or in place",
		Long: `Sign writes a signature over each regular file of IMAGE into its security.ima
attribute: in a copy or in place, one of which has to be said.

With --out, IMAGE is copied to FILE and only read. FILE appears when it is complete:
labels written, flushed and read back. Until then it is a hidden file beside it; a
run that is killed, or loses power, leaves a .vmseal-*.tmp there to be removed.

With --in-place, IMAGE itself is changed, a file or a block device. Before its first
byte is, an undo log lies beside it (IMAGE.vmseal-undo; for a block device in
/var/lib/vmseal/undo). What fails is undone at once. After a run that was killed, or
has lost power, no command but 'imagetool recover IMAGE' accepts the image, and that
brings back the exact bytes that it had. If that was before the log was complete,
the image is as it was, and a .vmseal-*.tmp is left to be removed.

A file keeps the label that it has if that is the one it would get, so signing
a signed image again changes nothing. Equal contents are signed once. The same
image, key and version give the same bytes; SOURCE_DATE_EPOCH, if it is set,
becomes the ctime of the files that get a new label, which else stays as it is.

` + cli.ReplacedHelp + `

--rules FILE has lines "sign PATTERN", "hash PATTERN" and "skip PATTERN"; the last
one that matches wins, and without any a file is signed. A hash label is a digest
alone, for files that the guest must be able to change. ` + cli.RulesHelp + `

--manifest FILE lists what was signed, with the labels. --reuse takes labels from
such a list, or from a signed image, so that a rebuilt image asks the key only
for what is new.

--profile FILE gets the signed profile of the guest's kernel for the enforcer, as
'imagetool profile' writes it; --policy names the IMA policy that stands in it.
--no-lockdown belongs to the profile, too.

` + kernelHelp + `

` + cli.KeyHelp + `

` + cli.DryHelp + `

` + sparseHelp + `

` + leftOutHelp + `

Sign first, then seal: what dm-verity (by partition type or superblock), Android
Verified Boot, an OSTree repository in mode bare or a composefs image covers is
refused, unless no label in it would change. --break-seals signs it nevertheless.

A container is copied as it is, and the copy is changed by QEMU; with --in-place what
differs is then carried over to IMAGE. A streamOptimized VMDK is made anew instead, and
only with --out.

` + archiveHelp + ` --out - writes it to standard
output. A hard link has the label of the file before it, whose name decides by the rules.

An image is refused, and nothing written, if it is in use, was not unmounted
cleanly, is damaged, or has anything that imagetool does not know for certain.`,
		Example: `  imagetool sign --key key/private.pem disk.raw --out signed.raw
  imagetool sign --key key/private.pem disk.raw --in-place
  imagetool sign --cert key/cert.pem disk.raw --dry-run
  imagetool sign --key key/private.pem --rules @debian --reuse old.manifest \
      --manifest new.manifest disk.raw --out signed.raw`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	f.key.RegisterDry(cmd)
	f.keep.Register(cmd)
	f.selected.register(cmd)
	f.selected.registerLeaveOut(cmd)
	cli.RegisterJobs(cmd, &f.jobs)
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "", "`file` to write the signed copy to")
	flags.BoolVar(&f.inPlace, "in-place", false, "change the image itself, under an undo log")
	flags.BoolVar(&f.force, "force", false, "replace the output, the manifest and the profile if they are there")
	f.rules.Register(cmd, "`file` that says what to sign, hash or skip, or @NAME of starter rules")
	flags.StringVar(&f.manifest, "manifest", "", "`file` to list the signed files in")
	flags.StringVar(&f.profile, "profile", "", "`file` to write the profile of the guest's kernel to")
	registerKernel(cmd, &f.kernel, "`path` of that kernel in the image")
	flags.StringVar(&f.policy, "policy", "", "`file` with the IMA policy that the guest loads, or @default, for the profile")
	registerUnlocked(cmd, &f.unlocked)
	flags.StringVar(&f.reuse, "reuse", "", "take labels from this manifest or image `file`")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be done, write nothing, do not sign")
	registerSparse(cmd, &f.sparse)
	flags.BoolVar(&f.seals, "break-seals", false, "sign also what dm-verity, AVB, OSTree or composefs cover, which then hold no more")
	flags.BoolVar(&f.dropEVM, "drop-evm", false, "remove security.evm from files that get a label")
	return cmd
}

// run checks everything that a person may have mistyped before it opens the
// image, and the image before it asks for a passphrase.
func (f *signFlags) run(cmd *cobra.Command, path string) error {
	start := time.Now()
	src, err := openArchive(cmd.Context(), path, &f.selected.container)
	if err != nil {
		return err
	}
	if src != nil {
		defer src.Close()
		return f.runArchive(cmd, src, start)
	}
	if f.out == piped {
		return cli.Usagef("--out -: only a tar archive is written to standard output: an image is written to all over")
	}
	opt, err := f.options(cmd)
	if err != nil {
		return err
	}
	img, err := imagetool.Open(cmd.Context(), path, f.selected.Selection, f.lockMode())
	if err != nil {
		return err
	}
	defer img.Close()
	if f.out != "" && !f.dryRun {
		if err := img.CheckOutput(f.out, f.force); err != nil {
			return err
		}
	}
	out := cli.Out(cmd)
	warnOf(cmd, img, "")
	warnOfRewriting(cmd, img, f.out)
	warnOfName(cmd, img, f.out)
	left, err := findLeftOut(cmd, img, "")
	if err != nil {
		return err
	}
	if err := f.openKey(cmd.Context(), out, opt); err != nil {
		return err
	}
	var done func()
	opt.Progress, done = out.Progress()
	defer done()
	result, err := sign.Image(cmd.Context(), img, *opt)
	if err != nil {
		return f.roomHint(err)
	}
	done()
	if f.inPlace {
		f.out = path
	}
	f.report(out, result, left, time.Since(start))
	return cmp.Or(cli.SignResult(result.Report), left.result("not signed"))
}

// lockMode also for a dry run is the one that the run itself would need.
func (f *signFlags) lockMode() imagetool.LockMode {
	if f.inPlace {
		return imagetool.ForWriting
	}
	return imagetool.ForCopying
}

// options are those that need no key.
func (f *signFlags) options(cmd *cobra.Command) (*sign.Options, error) {
	if err := f.key.CheckDry(cmd, f.dryRun); err != nil {
		return nil, err
	}
	switch {
	case f.out != "" && f.inPlace:
		return nil, cli.Usagef("--out and --in-place cannot both be meant")
	case f.out == "" && !f.inPlace && !f.dryRun:
		return nil, cli.WithHint(cli.Usagef("the signed image has to go somewhere: --out or --in-place is missing"),
			"--out FILE writes a signed copy; --in-place changes the image itself; --dry-run only says what would be done")
	case f.dryRun && f.manifest != "":
		return nil, cli.Usagef("a dry run makes no labels to list: give --manifest without --dry-run")
	case f.dryRun && f.profile != "":
		return nil, cli.Usagef("a dry run writes no profile: give --profile without --dry-run")
	case f.kernel != "" && f.profile == "":
		return nil, cli.Usagef("--kernel says whose profile to write: give it with --profile")
	case f.profile != "" && f.policy == "":
		return nil, cli.WithHint(cli.Usagef("a profile says what policy the guest loads: give --profile with --policy"), policyHint)
	case f.policy != "" && f.profile == "":
		return nil, cli.Usagef("--policy stands in the profile: give it with --profile")
	case f.unlocked && f.profile == "":
		return nil, cli.Usagef("--no-lockdown stands in the profile: give it with --profile")
	}
	if err := f.selected.check(cmd); err != nil {
		return nil, err
	}
	if f.reuse != "" && f.key.Bits != 0 {
		return nil, cli.Usagef("--reuse goes by a key: give --cert instead of --bits")
	}
	if err := f.key.CheckOutputs(f.out, f.manifest, f.profile); err != nil {
		return nil, err
	}
	if err := cli.CheckJobs(f.jobs); err != nil {
		return nil, err
	}
	if _, err := f.key.ParseHash(); err != nil {
		return nil, err
	}
	when, err := sourceDate()
	if err != nil {
		return nil, err
	}
	rules, err := f.rules.Load(cmd.Context())
	if err != nil {
		return nil, err
	}
	opt := &sign.Options{
		Out: f.out, InPlace: f.inPlace, Hold: cli.HoldSignals, Force: f.force,
		Manifest: f.manifest, Profile: f.profile, Kernel: f.kernel, Tool: "imagetool " + cli.Version(),
		Time: when, DropEVM: f.dropEVM, AllowSparse: f.sparse, BreakSeals: f.seals, Unlocked: f.unlocked,
	}
	if f.unlocked {
		warnUnlocked(cmd)
	}
	opt.Action, opt.Jobs, opt.DryRun = rules.Action, f.jobs, f.dryRun
	f.loaded = rules
	if f.rules.Path != "" {
		opt.Listed = f.rules.Listed(cli.Out(cmd), rules, func(plain []string) []string { return plain })
	}
	if opt.KeepValid, err = f.keep.Load(); err != nil {
		return nil, err
	}
	if f.policy != "" {
		if opt.Policy, err = readPolicy(cmd, f.policy, f.out, f.manifest, f.profile); err != nil {
			return nil, err
		}
	}
	return opt, nil
}

// openKey reaches the key and reads the labels to reuse, which takes its public
// half.
func (f *signFlags) openKey(ctx context.Context, out *cli.Output, opt *sign.Options) error {
	key, err := f.key.OpenDry(ctx, out)
	if err != nil {
		return err
	}
	opt.Key, opt.KeyID, opt.Hash, opt.Bits = key.Key, key.KeyID, key.Hash, key.Bits
	if f.reuse == "" {
		return nil
	}
	labels, err := sign.ReadLabels(ctx, f.reuse, key.Key.Public().(*rsa.PublicKey))
	if err != nil {
		return fmt.Errorf("--reuse: %w", err)
	}
	opt.Reuse = labels
	return nil
}

// signSummary adds to the summary what only images have.
type signSummary struct {
	cli.SignSummary
	Out         string        `json:"out,omitempty"`
	Manifest    string        `json:"manifest,omitempty"`
	KeyID       string        `json:"key_id"` // empty in a dry run with --bits
	Hash        string        `json:"hash"`
	Filesystems []spaceObject `json:"filesystems"`

	LeftOut []leftOutObject `json:"left_out"`
	Broken  []seals.Seal    `json:"broken_seals"`
}

type spaceObject struct {
	Partition volume.ID `json:"partition"`
	BlockSize int       `json:"block_size"`
	Needed    uint64    `json:"new_blocks"`
	Free      uint64    `json:"free_blocks"`
}

func (f *signFlags) report(out *cli.Output, r *sign.Result, left leftOut, took time.Duration) {
	out.Signed(r.Report)
	out.Failures(r.Report.Failures)
	warnOfBroken(out, r.Broken)
	s := signSummary{
		SignSummary: cli.NewSignSummary(r.Report, took, f.dryRun),
		Out:         cli.Escape(f.out), Manifest: cli.Escape(f.manifest),
		LeftOut: left.objects(), Broken: escapeSeals(r.Broken),
	}
	if f.dryRun {
		s.Out = ""
		out.Replaced(r.Report)
	}
	s.Hash = r.Hash.String()
	if f.key.Bits == 0 {
		s.KeyID = r.KeyID.String()
	}
	for _, space := range r.Spaces {
		s.Filesystems = append(s.Filesystems, spaceObject{space.Volume.ID, space.BlockSize, space.Needed, space.Free})
		if f.dryRun {
			out.Printf("%s: the labels need %d new blocks of %d bytes; %d are free\n",
				space.Volume, space.Needed, space.BlockSize, space.Free)
		}
	}
	if r.Sealed != nil {
		out.Object(newProfileObject(f.profile, r.Sealed, s.KeyID))
	}
	out.Object(s)
	if f.dryRun {
		out.Printf("%s\n", s.Text())
		return
	}
	out.Infof("%s: %s\n", cli.EscapeName(f.out), s.Text())
}
