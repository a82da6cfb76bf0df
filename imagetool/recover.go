package imagetool

import (
	"fmt"

	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/output"
	"github.com/vmseal/vmseal/imagetool/undo"
)

// A Recovery is what Recover has done.
type Recovery struct {
	undo.Summary
	Log string
}

// Recover brings back the bytes that an image had before a change in place that was
// cut short. log names its undo log; "" is the one in its place. Without an error
// the log is gone.
func Recover(path, log string) (*Recovery, error) {
	d, err := hostfile.OpenPending(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	file := output.OpenUndoLog(log)
	if log == "" {
		if file, err = output.UndoLogOf(path); err != nil {
			return nil, err
		}
	}
	if err := file.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := d.LockPending(hostfile.ForWriting); err != nil {
		return nil, err
	}
	var dev undo.Device = d
	if growing, err := d.Growing(); err == nil {
		dev = growing
	}
	summary, err := undo.Recover(file, dev, d.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := file.Remove(); err != nil {
		return nil, fmt.Errorf("%s has its bytes back, but the undo log is not removed for good: %w", path, err)
	}
	return &Recovery{summary, file.Path()}, nil
}
