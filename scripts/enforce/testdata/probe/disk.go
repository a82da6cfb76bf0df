//go:build amd64

package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// exchangeDisk leaves the system disk with all that runs, has another disk take its name and number, and executes there the
// program probe. All but the beginning of that is for process 1, which has nothing left of the system disk by then; every
// other process has to go, guestagent too. The host is told in its stead what came of it: the exit code is 0 if the program
// ran, or the number of the error.
func exchangeDisk(args []string) error {
	b, system, other, number := buses[args[0]], args[1], args[2], args[3]
	first, err := deviceOf(system)
	if err != nil {
		return err
	}
	second, err := deviceOf(other)
	if err != nil {
		return err
	}
	if err := newRoot(); err != nil {
		return err
	}
	err = puppetInit(func(s *script) {
		s.do("opening the port", false, unix.SYS_OPEN, s.text(port), unix.O_RDWR|unix.O_NOCTTY)
		s.do("killing all", false, unix.SYS_KILL, 1<<64-1, uint64(unix.SIGKILL))
		s.do("waiting until nobody uses the system disk", true, unix.SYS_OPEN, s.text("/dev/"+system), unix.O_RDONLY|unix.O_EXCL)
		s.do("closing it", false, unix.SYS_CLOSE, 1)
		s.write(b.remove(first))
		s.write(b.remove(second))
		s.write(b.add(second))
		s.do("looking for the number", true, unix.SYS_OPEN, s.text("/sys/dev/block/"+number+"/dev"), unix.O_RDONLY)
		s.do("closing that", false, unix.SYS_CLOSE, 1)
		s.do("mounting it", true, unix.SYS_MOUNT, s.text("/dev/"+system), s.text("/mnt"), s.text("ext4"), 0)
		name, what := s.text("probe"), s.text("exchanged")
		var argv []byte
		for _, arg := range []uint64{name, what, 0} {
			argv = binary.LittleEndian.AppendUint64(argv, arg)
		}
		s.do("executing probe on "+number, false, unix.SYS_EXECVE, s.text("/mnt/probe"), s.put(argv), s.put(make([]byte, 8)))
	})
	if err != nil {
		return err
	}
	for {
		unix.Pause() // until it kills us
	}
}

// port is guestagent's.
const port = "/dev/ttyS1"

// exchanged is the program that was executed, as process 1, which must not end.
func exchanged([]string) error {
	tty, err := os.OpenFile(port, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	fmt.Fprintln(tty, base64.StdEncoding.EncodeToString([]byte("it ran")), 0)
	for {
		unix.Pause()
	}
}

// deviceOf is what the bus of a disk calls it.
func deviceOf(disk string) (string, error) {
	path, err := os.Readlink("/sys/block/" + disk + "/device")
	return filepath.Base(path), err
}

// A bus tells what is to be written to which file, for a device to be removed or added.
type bus struct {
	remove, add func(device string) (path, text string)
}

const virtioBlk = "/sys/bus/virtio/drivers/virtio_blk/"

var buses = map[string]bus{
	"virtio": {
		remove: func(device string) (path, text string) { return virtioBlk + "unbind", device },
		add:    func(device string) (path, text string) { return virtioBlk + "bind", device },
	},
	"scsi": {
		remove: func(device string) (path, text string) { return "/sys/bus/scsi/devices/" + device + "/delete", "1" },
		add: func(device string) (path, text string) {
			host, _, _ := strings.Cut(device, ":") // channel:target:lun
			return "/sys/class/scsi_host/host" + host + "/scan", "- - -"
		},
	},
}
