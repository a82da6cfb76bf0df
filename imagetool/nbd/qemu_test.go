package nbd

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/disktest"
)

const mib = 1 << 20

// serve has a server of QEMU's listen on a socket that it inherits, and connects.
func serve(t *testing.T, export, name string, args ...string) *Client {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "socket")})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	f, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(disktest.Tool(t, name), args...)
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, []*os.File{f}
	if name == "qemu-nbd" { // by the protocol of sd_listen_fds(3), which wants the number of the process
		cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, name}, args...)...)
		cmd.Stderr, cmd.ExtraFiles = os.Stderr, []*os.File{f}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	conn, err := net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(conn, Options{Export: export, Name: "disk"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func daemon(t *testing.T, image, writable string) *Client {
	return serve(t, "disk", "qemu-storage-daemon", "--blockdev", "driver=file,node-name=file,filename="+image,
		"--blockdev", "driver=qcow2,node-name=disk,file=file", "--nbd-server", "addr.type=fd,addr.str=3",
		"--export", "type=nbd,id=disk,node-name=disk,name=disk,writable="+writable)
}

// TestQEMU reads and writes a qcow2 image through both of QEMU's servers.
func TestQEMU(t *testing.T) {
	for name, start := range map[string]func(image string) *Client{
		"qemu-storage-daemon": func(image string) *Client { return daemon(t, image, "on") },
		"qemu-nbd": func(image string) *Client {
			return serve(t, "", "qemu-nbd", "-f", "qcow2", "--persistent", image)
		},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "disk.qcow2")
			disktest.Run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", image, "64M")
			c := start(image)
			want := make([]byte, 64*mib)
			put := func(b []byte, off int64) {
				t.Helper()
				copy(want[off:], b)
				if n, err := c.WriteAt(b, off); n != len(b) || err != nil {
					t.Fatalf("writing %d bytes at %d: %d, %v", len(b), off, n, err)
				}
			}
			put(bytes.Repeat([]byte("0123456789abcdef"), 3*mib/16), 5*mib)
			put([]byte("odd"), 20*mib+1)
			put(make([]byte, 2*mib), 5*mib)
			put([]byte("end"), 64*mib-3)
			if err := c.Sync(); err != nil {
				t.Fatal(err)
			}
			if c.Size() != 64*mib || !c.hasContext || !c.structured {
				t.Errorf("%d bytes, context %v, structured %v", c.Size(), c.hasContext, c.structured)
			}
			data := slices.Collect(c.Data(0, c.Size()))
			if want := ranges(7*mib, 8*mib, 20*mib, 20*mib+64<<10, 64*mib-64<<10, 64*mib); !slices.Equal(data, want) {
				t.Errorf("data in %v, want %v", data, want)
			}
			got := make([]byte, 64*mib)
			if n, err := c.ReadAt(got, 0); n != len(got) || err != nil || !bytes.Equal(got, want) {
				t.Errorf("read back %d bytes, %v", n, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestQEMUReadOnly: what is exported read-only is not written to, and a wrong name is
// told.
func TestQEMUReadOnly(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	disktest.Run(t, "", "qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
	if _, err := daemon(t, image, "off").WriteAt([]byte("x"), 0); err == nil {
		t.Error("written")
	}
}
