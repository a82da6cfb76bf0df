package enforce

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// A codeBlock is a piece of code in a README.
type codeBlock struct {
	line   int    // of its fence
	syntax string // what stands behind the fence
	text   string
	notRun string // why it cannot be run here
	given  string // what lies in the folder before it runs
	exit   int    // what its last command exits with
}

var (
	fence     = regexp.MustCompile("^```(\\S*)$")
	directive = regexp.MustCompile(`^<!-- (not run|given|exit): (.*) -->$`)
)

// blocks finds the code in a README. Comments on the lines in front of a block say how it is run:
//
//	<!-- not run: REASON -->    it is not run
//	<!-- given: guest.img -->   that file is made first
//	<!-- exit: 3 -->            its last command exits with 3
func blocks(text string) (all []codeBlock, err error) {
	var b codeBlock
	var inside bool
	var code strings.Builder
	for i, line := range strings.Split(text, "\n") {
		switch m := fence.FindStringSubmatch(line); {
		case m != nil && !inside:
			inside, b.line, b.syntax = true, i+1, m[1]
			code.Reset()
		case m != nil:
			b.text = code.String()
			all = append(all, b)
			inside, b = false, codeBlock{}
		case inside:
			code.WriteString(line + "\n")
		case line == "":
		default:
			if m := directive.FindStringSubmatch(line); m == nil {
				b = codeBlock{}
			} else if err := b.set(m[1], m[2]); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("line %d: a block without an end", b.line)
	}
	return all, nil
}

func (b *codeBlock) set(name, value string) (err error) {
	switch name {
	case "not run":
		b.notRun = value
	case "given":
		b.given = value
	case "exit":
		_, err = fmt.Sscan(value, &b.exit)
	}
	return err
}

func TestBlocks(t *testing.T) {
	all, err := blocks("# x\n\n<!-- given: guest.img -->\n<!-- exit: 3 -->\n```sh\na\nb\n```\n<!-- given: y -->\ntext\n```text\nout\n```\n")
	if err != nil || len(all) != 2 || all[0] != (codeBlock{5, "sh", "a\nb\n", "", "guest.img", 3}) || all[1] != (codeBlock{11, "text", "out\n", "", "", 0}) {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := blocks("```sh\n"); err == nil {
		t.Error("a block without an end")
	}
}

// TestReadme runs the commands of each README, as they are written and in their order, in an empty folder and as an ordinary
// user. Each block says what it is: sh is run, what else there is is not.
func TestReadme(t *testing.T) {
	t.Parallel()
	need(t)
	ran, left := 0, 0
	must(t, filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "README.md" {
			return err
		}
		text, err := os.ReadFile(path)
		must(t, err)
		all, err := blocks(string(text))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		t.Run(strings.TrimPrefix(path, "../../"), func(t *testing.T) {
			r := reader{t: t, name: path}
			for _, b := range all {
				switch {
				case b.syntax == "":
					t.Errorf("%s:%d: a block that does not say what it is", path, b.line)
				case b.syntax != "sh":
				case b.notRun != "":
					left++
					t.Logf("%s:%d: not run: %s", path, b.line, b.notRun)
				default:
					ran++
					r.run(b)
				}
			}
		})
		return nil
	}))
	if ran == 0 {
		t.Error("no block was run")
	}
	t.Logf("%d blocks were run, %d were not", ran, left)
}

// reader is somebody who tries what a README says.
type reader struct {
	t    *testing.T
	name string
	dir  string
}

// blockLimit is for a block in which a guest boots.
const blockLimit = bootLimit + commandLimit

func (r *reader) run(b codeBlock) {
	t := r.t
	t.Helper()
	if r.dir == "" {
		r.dir = bed.Dir(t)
		must(t, os.Chown(r.dir, bed.Nobody, bed.Nobody))
	}
	r.give(b.given)
	cmd := bed.Peer("bash", "-euo", "pipefail", "-c", b.text)
	cmd.Dir = r.dir
	cmd.Env = append(cmd.Env, "HOME="+r.dir, "PATH="+filepath.Dir(bed.Program("imagetool"))+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: bed.Nobody, Gid: bed.Nobody}, Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	end := time.AfterFunc(blockLimit, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait() // for the output of what runs in the background, too
	end.Stop()
	code := 0
	if failed, ok := err.(*exec.ExitError); ok {
		code = failed.ExitCode()
	} else {
		must(t, err)
	}
	if code != b.exit {
		console, _ := os.ReadFile(filepath.Join(r.dir, "console.log"))
		t.Fatalf("%s:%d: exit code %d, want %d:\n%s\nits output:\n%s\nthe guest's console ends with:\n%s", r.name, b.line, code, b.exit, b.text, out.String(), tail(string(console), 3000))
	}
}

// give makes what a block expects to be there.
func (r *reader) give(name string) {
	t := r.t
	t.Helper()
	switch name {
	case "":
	case "tree":
		bin := filepath.Join(r.dir, name, "usr/bin")
		must(t, os.MkdirAll(bin, 0o755))
		must(t, os.WriteFile(filepath.Join(bin, "tool"), []byte("#!/bin/sh\n"), 0o755))
	case "root.tar":
		tree := bed.Dir(t)
		must(t, os.WriteFile(filepath.Join(tree, "tool"), []byte("#!/bin/sh\n"), 0o755))
		_, err := bed.Output(bed.Peer("tar", "-C", tree, "-cf", filepath.Join(r.dir, name), "."))
		must(t, err)
		must(t, os.Chown(filepath.Join(r.dir, name), bed.Nobody, bed.Nobody))
	case "guest.img":
		must(t, makePartitioned(t, filepath.Join(r.dir, name)))
	default:
		t.Fatalf("%s: nobody knows how to make %s", r.name, name)
	}
}

// powerOff has a guest switch itself off once it has booted.
const powerOff = `[Unit]
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/true
`

// makePartitioned makes a disk with a small Debian in the one partition of its GPT.
func makePartitioned(t *testing.T, image string) error {
	dir := bed.Dir(t)
	root := filepath.Join(dir, "root")
	if err := unpackRootOf([]string{"--small"}, root, "--xattrs", "--xattrs-include=*"); err != nil {
		return err
	}
	units := filepath.Join(root, "etc/systemd/system")
	for _, name := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(units, name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(units, "off.service"), []byte(powerOff), 0o644); err != nil {
		return err
	}
	if err := os.Symlink("../off.service", filepath.Join(units, "multi-user.target.wants/off.service")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o644); err != nil {
		return err
	}
	for _, cmd := range []*exec.Cmd{
		bed.Peer("truncate", "-s", "702M", image),
		bed.Peer("sh", "-c", `echo 'label: gpt
start=2048, type=linux, name=root' | sfdisk --quiet "$0"`, image),
		bed.Peer("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, "-E", "offset=1048576", image, "700M"),
		bed.Peer("chown", fmt.Sprint(bed.Nobody), image),
	} {
		if _, err := bed.Output(cmd); err != nil {
			return err
		}
	}
	return os.RemoveAll(root)
}
