package initrd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shells are those of initrds, as far as they are installed.
func shells(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for name, args := range map[string][]string{
		"dash": {"dash"}, "bash": {"bash", "--posix"}, "busybox": {"busybox", "sh"}, "klibc": {"/usr/lib/klibc/bin/sh"},
	} {
		if _, err := exec.LookPath(args[0]); err == nil {
			found[name] = args
		} else if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			t.Errorf("%s is required: %v", name, err)
		}
	}
	if len(found) == 0 {
		t.Fatal("there is no shell")
	}
	return found
}

// TestScriptFails runs the script in a folder that looks like a kernel until a
// certain step. Each must end it, with its name; and a kernel that goes on to take lines
// has been handed every rule by then, as it stands.
func TestScriptFails(t *testing.T) {
	rules := strings.Join(debian(t).Rules(), "\n") + "\n"
	for name, shell := range shells(t) {
		for _, step := range []struct {
			fail, setup string // what the mount of securityfs does
			policy      string
		}{
			{fail: "mounting /sys/kernel/security", setup: "exit 1"},
			{fail: "switching kexec off", setup: locked + "rmdir ${KEXEC%/*}"},
			{fail: "switching kexec off", setup: locked + "ln -s /dev/null $KEXEC"},
			{fail: "opening the IMA policy of the kernel", setup: locked + "touch $KEXEC"},
			{fail: "opening the IMA policy of the kernel", setup: locked + "touch $KEXEC; mkdir -p $IMA"},
			{fail: "giving the kernel the rule: " + debian(t).Rules()[0], setup: locked + "touch $KEXEC; mkdir -p $IMA; ln -s /dev/full $POLICY; exit"},
			{fail: "putting the policy into force", setup: locked + "touch $KEXEC; mkdir -p $IMA; touch $POLICY", policy: rules + "#\n"},
		} {
			t.Run(name+"/"+step.fail, func(t *testing.T) {
				root := t.TempDir()
				stderr := runScript(t, shell, root, script(Options{}), step.setup, rules)
				if !strings.HasSuffix(stderr, "vmseal-init: failed: "+step.fail+"\n") {
					t.Errorf("%q does not name %q", stderr, step.fail)
				}
				if step.policy == "" {
					return
				}
				got, err := os.ReadFile(filepath.Join(root, "sys/kernel/security/ima/policy"))
				if err != nil || string(got) != step.policy {
					t.Errorf("the kernel has %v, %q", err, got)
				}
			})
		}
	}
}

// locked is a kernel that is locked down.
const locked = "echo 'none [integrity] confidentiality' >$LOCKDOWN\n"

// TestScriptLockdown: the script goes on with a kernel that is locked down, and with no
// other; made without lockdown, it does not look.
func TestScriptLockdown(t *testing.T) {
	const refused, goesOn = "looking for lockdown=integrity on the command line of the kernel", "switching kexec off"
	stop := "\nrmdir ${KEXEC%/*}" // where the next step ends
	for name, shell := range shells(t) {
		for state, c := range map[string]struct{ setup, fail string }{
			"integrity":          {locked, goesOn},
			"confidentiality":    {"echo 'none integrity [confidentiality]' >$LOCKDOWN", goesOn},
			"without end":        {"printf 'none [integrity] confidentiality' >$LOCKDOWN", goesOn},
			"none":               {"echo '[none] integrity confidentiality' >$LOCKDOWN", refused},
			"no level":           {"echo 'none integrity confidentiality' >$LOCKDOWN", refused},
			"another level":      {"echo 'none [secrecy] integrity' >$LOCKDOWN", refused},
			"in the second line": {"printf '[none]\\n[integrity]\\n' >$LOCKDOWN", refused},
			"empty":              {"touch $LOCKDOWN", refused},
			"no lockdown":        {":", refused},
			"a folder":           {"mkdir $LOCKDOWN", refused},
		} {
			t.Run(name+"/"+state, func(t *testing.T) {
				stderr := runScript(t, shell, t.TempDir(), script(Options{}), c.setup+stop, "")
				if !strings.HasSuffix(stderr, "vmseal-init: failed: "+c.fail+"\n") {
					t.Errorf("%q does not name %q", stderr, c.fail)
				}
				stderr = runScript(t, shell, t.TempDir(), script(Options{NoLockdown: true}), c.setup+stop, "")
				if !strings.HasSuffix(stderr, "vmseal-init: failed: "+goesOn+"\n") {
					t.Errorf("without lockdown: %q does not name %q", stderr, goesOn)
				}
			})
		}
	}
}

// TestScriptKeptPolicy: a kernel may keep the file of the policy, if it takes no more lines.
func TestScriptKeptPolicy(t *testing.T) {
	rules := strings.Join(debian(t).Rules(), "\n") + "\n"
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			// What is unmounted last before the rules are written exchanges the file that is open.
			setup := locked + "touch $KEXEC; mkdir -p $IMA; touch $POLICY\n" +
				`printf '#!/bin/sh\n[ -h %s ] || { mv %s %s.was; ln -s /dev/full %s; }\n' $POLICY $POLICY $POLICY $POLICY >${IMA%/sys/*}/bin/umount`
			out, stderr, err := scriptOutput(t, shell, root, script(Options{}), setup, rules)
			if err != nil || out != "started\n" {
				t.Errorf("the script did not go on: %v, %q, %q", err, out, stderr)
			}
			got, err := os.ReadFile(filepath.Join(root, "sys/kernel/security/ima/policy.was"))
			if err != nil || string(got) != rules {
				t.Errorf("the kernel has %v, %q", err, got)
			}
		})
	}
}

// runScript gives what the script says when it fails, with / for the folder.
func runScript(t *testing.T, shell []string, root, script, setup, rules string) string {
	t.Helper()
	out, stderr, err := scriptOutput(t, shell, root, script, setup, rules)
	if err == nil || len(out) > 0 {
		t.Errorf("the script went on: %v, %q", err, out)
	}
	return stderr
}

func scriptOutput(t *testing.T, shell []string, root, script, setup, rules string) (out, said string, err error) {
	t.Helper()
	kernel := "KEXEC=" + root + "/proc/sys/kernel/kexec_load_disabled IMA=" + root + "/sys/kernel/security/ima\nPOLICY=$IMA/policy LOCKDOWN=${IMA%/*}/lockdown\n"
	stub := "#!/bin/sh\n" + kernel + "mkdir -p $4 " + root + "/proc/sys/kernel\n[ $2 = securityfs ] || exit 0\n" + setup + "\n"
	script = strings.NewReplacer(
		"umount -l", root+"/bin/umount -l", "mount -t", root+"/bin/mount -t", // by path, or busybox would take its own
		" /proc", " "+root+"/proc", "</proc", "<"+root+"/proc", ">/proc", ">"+root+"/proc",
		" /sys", " "+root+"/sys", "</sys", "<"+root+"/sys", "/vmseal-policy", root+"/vmseal-policy", "exec /init", "exec "+root+"/init",
	).Replace(script)
	for name, text := range map[string]string{
		"bin/mount": stub, "bin/umount": "#!/bin/sh\n", "vmseal-init": script, "vmseal-policy": rules, "init": "#!/bin/sh\necho started\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(shell[0], append(shell[1:], filepath.Join(root, "vmseal-init"))...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	return string(b), strings.ReplaceAll(stderr.String(), root, ""), err
}
