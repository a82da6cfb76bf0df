package container

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vmseal/vmseal/imagetool/block"
	"github.com/vmseal/vmseal/imagetool/hostfile"
	"github.com/vmseal/vmseal/imagetool/nbd"
)

// A Disk is the guest's disk that lies in a container, as the daemon gives it. Close or
// Abort ends it.
type Disk struct {
	*nbd.Client
	cache  *cache
	daemon *daemon
	file   *os.File // the container, or its copy
}

var _ block.Device = (*Disk)(nil)

// requestLimit is how long the daemon may take to answer; 0 for what package nbd has. Tests
// are less patient.
var requestLimit time.Duration

// openDisk starts a daemon. The disk has to be as large as the header says.
func openDisk(name string, h *Header, chain []node, writable bool) (*Disk, error) {
	d, conn, err := startDaemon(chain, writable)
	if err != nil {
		return nil, err
	}
	client, err := nbd.New(conn, nbd.Options{Export: "disk", Name: name, Limit: requestLimit})
	if err != nil {
		return nil, d.explain(fmt.Errorf("opening it as %s: %w", h.Format, err))
	}
	disk := &Disk{client, newCache(client), d, chain[0].file}
	// QEMU counts in sectors.
	if size := client.Size(); size/512 != (h.Size+511)/512 && size/512 != h.Size/512 {
		// Needed: a part of the disk would be missing.
		err := refuse("convert it with the program that made it, to raw or qcow2", "%s: the disk has %d bytes by its header, and QEMU reads %d", h.Format, h.Size, size)
		return nil, errors.Join(err, disk.Abort())
	}
	return disk, nil
}

// ReadAt reads up to the end, which is io.EOF.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.cache.ReadAt(p, off)
	return n, d.explain(err)
}

// WriteAt writes.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.cache.WriteAt(p, off)
	return n, d.explain(err)
}

// Sync has the daemon write all to its file. Whoever owns that makes it durable.
func (d *Disk) Sync() error { return d.explain(d.Client.Sync()) }

// Forget drops what is in memory of the disk, here and of the daemon's file. The daemon itself
// keeps the format's tables, and no data.
func (d *Disk) Forget() error {
	d.cache.forget()
	return hostfile.Forget(d.file)
}

// explain tells what became of the daemon, if the connection to it is broken.
func (d *Disk) explain(err error) error {
	if d.Client.Broken() == nil || err == nil {
		return err
	}
	return d.daemon.explain(err)
}

// Close lets the daemon finish its work. Without an error, its file is complete: at its
// end it tells of no error any more, so it has to write all that it has before.
func (d *Disk) Close() error {
	return errors.Join(d.Sync(), d.Client.Close(), d.daemon.stop())
}

// Abort ends the daemon at once.
func (d *Disk) Abort() error {
	d.daemon.kill()
	return d.Client.Close()
}
