// Command guestagent runs in a guest of the test bed and does what the host says over a serial port, the second one unless
// its argument names another. It says READY when it starts, which its unit lets it do once multi-user.target is reached. Each
// line from the host is a shell command, each line of the answer what the command printed and its exit code; commands and
// output are in base64.
//
// A static program of one file, because all that it consists of is appraised before the host can say anything.
package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	port := "/dev/ttyS1"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	log.Fatal("guestagent: ", serve(port))
}

// serve ends with an error only.
func serve(port string) error {
	tty, err := os.OpenFile(port, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	if err := raw(int(tty.Fd())); err != nil {
		return fmt.Errorf("setting %s to raw: %w", port, err)
	}
	if _, err := fmt.Fprintln(tty, "READY"); err != nil {
		return err
	}
	lines := bufio.NewReader(tty)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		out, code := run(strings.TrimSpace(line))
		if _, err := fmt.Fprintf(tty, "%s %d\n", base64.StdEncoding.EncodeToString(out), code); err != nil {
			return err
		}
	}
}

// run gives the output of a command, and its exit code as a shell would tell it.
func run(line string) ([]byte, int) {
	command, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return []byte(err.Error()), 255
	}
	out, err := exec.Command("/bin/sh", "-c", string(command)).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out, 0
	case !errors.As(err, &exit):
		return append(out, err.Error()...), 255
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return out, 128 + int(status.Signal())
	}
	return out, exit.ExitCode()
}

// raw makes the terminal hand bytes through as they are (cfmakeraw).
func raw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
