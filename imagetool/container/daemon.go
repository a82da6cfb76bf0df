package container

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const daemonName = "qemu-storage-daemon"

// daemonLimit is how long it may take to end when it is told to.
const daemonLimit = time.Minute

// A MissingError says that a program of QEMU is not installed.
type MissingError struct {
	Program string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed, and only raw images can be opened without it", e.Program)
}

// Advice says what to install.
func (e *MissingError) Advice() string {
	return "Debian and Ubuntu have it in the packages qemu-system-common and qemu-utils; or convert the image on another machine: qemu-img convert -O raw IMAGE image.raw"
}

// A node is an image file as the daemon gets it: open, and with its format said.
type node struct {
	format Format
	file   *os.File
}

// A daemon is a process that exports a disk on a socket that only we are connected to.
type daemon struct {
	process
	words lastWords
}

// startDaemon starts a daemon for a chain of files, each of which has what the one before
// has not. The first is written to, if that is said; it is then nobody else's, and its
// owner makes it durable.
func startDaemon(chain []node, writable bool) (*daemon, net.Conn, error) {
	program, err := exec.LookPath(daemonName)
	if err != nil {
		return nil, nil, &MissingError{daemonName}
	}
	listener, conn, err := privateSocket()
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket for %s: %w", daemonName, err)
	}
	defer listener.Close()
	cmd := exec.Command(program, arguments(chain, writable)...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	d := &daemon{process: process{cmd: cmd}}
	cmd.Stdout, cmd.Stderr = &d.words, &d.words
	cmd.ExtraFiles = []*os.File{listener}
	for _, n := range chain {
		cmd.ExtraFiles = append(cmd.ExtraFiles, n.file)
	}
	// It goes when we go, and no key that is pressed in our terminal reaches it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	if err := d.start(); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("starting %s: %w", daemonName, err)
	}
	return d, conn, nil
}

// arguments have each file opened by the number that it has for the daemon, and its
// driver and what lies behind it said. Socket and files are numbered from 3 on.
func arguments(chain []node, writable bool) (args []string) {
	for i := len(chain) - 1; i >= 0; i-- {
		n, readOnly := chain[i], i > 0 || !writable
		file := map[string]any{
			"driver": protocol(n.file), "node-name": fmt.Sprintf("file%d", i), "filename": fmt.Sprintf("/proc/self/fd/%d", 4+i),
			"locking": "off", "read-only": readOnly,
		}
		if !readOnly {
			file["cache"] = map[string]any{"no-flush": true}
		}
		format := map[string]any{
			"driver": string(n.format), "node-name": fmt.Sprintf("disk%d", i), "file": file["node-name"], "read-only": readOnly,
		}
		if n.format == QCOW2 || n.format == VMDK {
			format["backing"] = nil // whatever the header says
			if i+1 < len(chain) {
				format["backing"] = fmt.Sprintf("disk%d", i+1)
			}
		}
		for _, options := range []map[string]any{file, format} {
			text, err := json.Marshal(options)
			if err != nil {
				panic(err) // strings and booleans
			}
			args = append(args, "--blockdev", string(text))
		}
	}
	onOff := map[bool]string{true: "on", false: "off"}[writable]
	return append(args, "--nbd-server", "addr.type=fd,addr.str=3",
		"--export", "type=nbd,id=disk,node-name=disk0,name=disk,writable="+onOff)
}

// protocol is QEMU's driver for the file itself.
func protocol(f *os.File) string {
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeDevice != 0 {
		return "host_device"
	}
	return "file"
}

// privateSocket gives a socket to listen on and a connection to it that waits to be
// accepted. It lies in a folder of our own, and has no name any more on return.
func privateSocket() (listener *os.File, conn net.Conn, err error) {
	dir, err := os.MkdirTemp("", "vmseal-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	folder, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer folder.Close()
	// A name that is short, however long that of the folder is (sun_path has 108 bytes).
	name := fmt.Sprintf("/proc/self/fd/%d/nbd", folder.Fd())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: name})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if listener, err = l.File(); err != nil {
		return nil, nil, err
	}
	if conn, err = net.Dial("unix", name); err != nil {
		listener.Close()
		return nil, nil, err
	}
	return listener, conn, nil
}

// stop has the daemon write what it still has to its files, and end.
func (d *daemon) stop() error {
	d.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(daemonLimit):
		d.kill()
		return fmt.Errorf("%s did not end within %v and was killed%s", daemonName, daemonLimit, d.said())
	}
	if d.err != nil {
		return fmt.Errorf("%s ended with %w%s", daemonName, d.err, d.said())
	}
	return nil
}

func (d *daemon) kill() {
	d.cmd.Process.Kill()
	<-d.ended
}

// explain adds the daemon's end to an error of the connection, which is no longer of any
// use: if it has not ended by itself, it is killed.
func (d *daemon) explain(err error) error {
	select {
	case <-d.ended:
	case <-time.After(time.Second): // it has hung up, or talks nonsense, and goes on living
		d.kill()
		return fmt.Errorf("%w; %s was killed%s", err, daemonName, d.said())
	}
	how := "by itself"
	if d.err != nil {
		how = "with " + d.err.Error()
	}
	return fmt.Errorf("%w; %s ended %s%s", err, daemonName, how, d.said())
}

func (d *daemon) said() string {
	if words := d.words.String(); words != "" {
		return ": " + words
	}
	return ""
}
