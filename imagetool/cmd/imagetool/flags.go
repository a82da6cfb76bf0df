package main

import (
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/volume"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/signer/cli"
)

// selectFlags say what an image is and what of it is meant: without them everything.
type selectFlags struct {
	imagetool.Selection
	partition string
	leaveOut  []string
	container containerFlags
}

func (s *selectFlags) register(cmd *cobra.Command) {
	s.registerSectors(cmd)
	cmd.Flags().StringVar(&s.partition, "partition", "", "work on the partition with this `number` only; 0 is a whole disk, GROUP/VOLUME a logical volume")
	s.container.register(cmd, "")
	cmd.Long += "\n\n" + containerHelp
}

// registerLeaveOut adds --leave-out.
func (s *selectFlags) registerLeaveOut(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&s.leaveOut, "leave-out", nil, "leave out the partition with this `number`, or the volume GROUP/VOLUME, whatever it holds; may be repeated")
}

func (s *selectFlags) registerSectors(cmd *cobra.Command) {
	cmd.Flags().IntVar(&s.SectorSize, "sector-size", 0, "`bytes` in a sector of the guest's disk, where its partition table does not tell: 512 or 4096")
}

func (s *selectFlags) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("partition") {
		id, err := volume.Parse(s.partition)
		if err != nil {
			return cli.Usagef("--partition: %v", err)
		}
		s.Partition = id
	}
	s.LeaveOut = nil
	for _, text := range s.leaveOut {
		id, err := volume.Parse(text)
		if err != nil {
			return cli.Usagef("--leave-out: %v", err)
		}
		s.LeaveOut = append(s.LeaveOut, id)
	}
	if len(s.LeaveOut) > 0 && s.Partition != imagetool.AnyPartition {
		return cli.Usagef("--partition leaves out all others: give it without --leave-out")
	}
	if cmd.Flags().Changed("sector-size") && s.SectorSize != 512 && s.SectorSize != 4096 {
		return cli.Usagef("--sector-size: %d is neither 512 nor 4096", s.SectorSize)
	}
	return s.container.apply(&s.Selection)
}

// registerSparse adds --allow-sparse.
func registerSparse(cmd *cobra.Command, allow *bool) {
	cmd.Flags().BoolVar(allow, "allow-sparse", false, "read files whose holes make them far larger than the file system")
}

// sparseHelp is what the commands that read all files have in common.
const sparseHelp = `Holes cost nothing on the disk, but have to be read. Files that together hold more than
16 times the size of their file system and 1 GiB are refused, and the largest is
named, unless --allow-sparse is given.`

// openForReading opens an image for a command that only looks.
func openForReading(cmd *cobra.Command, path string, s *selectFlags) (*imagetool.Image, error) {
	if err := s.check(cmd); err != nil {
		return nil, err
	}
	if path == piped {
		return nil, noFiles("standard input")
	}
	if src, err := openArchive(cmd.Context(), path, &s.container); err == nil && src != nil {
		src.Close()
		return nil, noFiles(path)
	}
	return imagetool.Open(cmd.Context(), path, s.Selection, imagetool.ForReading)
}

// warnOf tells what is not as it should be about an image. Messages begin with the name
// that is given.
func warnOf(cmd *cobra.Command, img *imagetool.Image, name string) {
	for _, w := range img.Layout().Warnings {
		cli.Out(cmd).Warn(errors.New(about(name, w)))
	}
}

func about(name, text string) string {
	if name == "" {
		return text
	}
	return name + ": " + text
}

// sourceDate is the time that SOURCE_DATE_EPOCH gives; nil if it is not set. See
// https://reproducible-builds.org/specs/source-date-epoch/.
func sourceDate() (*time.Time, error) {
	const name = "SOURCE_DATE_EPOCH"
	text, ok := os.LookupEnv(name)
	if !ok || text == "" {
		return nil, nil
	}
	// 34 bits are what an inode's time has (EXT4_EPOCH_BITS).
	seconds, err := strconv.ParseUint(text, 10, 34)
	if err != nil {
		return nil, cli.Usagef("%s=%q is not a number of seconds since 1970", name, text)
	}
	t := time.Unix(int64(seconds), 0).UTC()
	return &t, nil
}
