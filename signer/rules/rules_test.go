package rules

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/signer"
)

func parse(t *testing.T, text string) *Rules {
	t.Helper()
	rs, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestAction(t *testing.T) {
	rs := parse(t, "\n# comment\n  # another\r\nhash /var/log/\nskip\t*.tmp \r\nsign /var/log/installer/\nskip /with\\ space\\ \nhash #x\n")
	tests := []struct {
		paths []string
		want  signer.Action
	}{
		{[]string{"/etc/passwd"}, signer.ActionSign},
		{[]string{"/var/log/syslog"}, signer.ActionHash},
		{[]string{"/var/log"}, signer.ActionSign}, // a file, not the directory
		{[]string{"/srv/var/log/syslog"}, signer.ActionSign},
		{[]string{"/a/b/c.tmp"}, signer.ActionSkip},
		{[]string{"/var/log/x.tmp"}, signer.ActionSkip},
		{[]string{"/var/log/installer/x.tmp"}, signer.ActionSign},
		{[]string{"/with space "}, signer.ActionSkip},
		{[]string{"/with space"}, signer.ActionSign},
		{[]string{"/d/#x"}, signer.ActionHash},
		{[]string{"/a.tmp", "/var/log/a"}, signer.ActionHash},
		{[]string{"/var/log/a", "/a.tmp"}, signer.ActionHash},
		{[]string{"/a.tmp", "/bin/a"}, signer.ActionSign},
		{[]string{"/a.tmp", "/b.tmp"}, signer.ActionSkip},
		{nil, signer.ActionSign},
	}
	for _, tt := range tests {
		if got := rs.Action(tt.paths); got != tt.want {
			t.Errorf("Action(%q) = %v, want %v", tt.paths, got, tt.want)
		}
	}
}

// TestByteOrderMark: editors put one in front. Elsewhere it is part of a name.
func TestByteOrderMark(t *testing.T) {
	rs := parse(t, "\ufeffskip /a\nhash \ufeffb\n")
	for path, want := range map[string]signer.Action{"/a": signer.ActionSkip, "/\ufeffb": signer.ActionHash, "/b": signer.ActionSign} {
		if got := rs.Action([]string{path}); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
	if _, err := Parse(strings.NewReader("skip /a\n\ufeffskip /b\n")); err == nil {
		t.Error("a mark in the second line passes")
	}
}

func TestZeroValueSigns(t *testing.T) {
	if got := new(Rules).Action([]string{"/x"}); got != signer.ActionSign {
		t.Error(got)
	}
}

func TestRawBytes(t *testing.T) {
	rs := parse(t, "skip /caf?/")
	for path, want := range map[string]signer.Action{
		"/café/x":      signer.ActionSkip,
		"/caf\xe9/x":   signer.ActionSkip,
		"/caf\xe9e/x":  signer.ActionSign,
		"/caf\n/x\xff": signer.ActionSkip,
	} {
		if got := rs.Action([]string{path}); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	tests := []struct{ text, want string }{
		{"sign", "line 1: pattern \"\": missing"},
		{"sign /a\nhash  \n", "line 2: pattern \"\": missing"},
		{"\n\nSIGN /a", "line 3: \"SIGN\" is not an action"},
		{"/etc/passwd", "is not an action"},
		{"skip !x", "no negation"},
		{"skip /", "matches nothing"},
		{"skip //a", "empty component"},
		{"skip a//b", "empty component"},
		{"skip ./a", `component "." matches nothing`},
		{"skip /a/../b", `component ".." matches nothing`},
		{"skip [a", "is not a valid pattern"},
		{"skip a\\", "not a valid pattern"},
		{"skip [[:alpha:]]", "named character classes"},
		{"skip []a]", "is not a valid pattern"},
		{"skip a**b", "** stands alone"},
		{"skip /a/***/b", "** stands alone"},
		{"skip \xff", "UTF-8"},
		{"skip a\x00b", "UTF-8"},
		{"sign /a\nskip /" + strings.Repeat("x", maxLine), "line 2: longer than"},
		{strings.Repeat("skip a\n", maxRules+1), "more than 10000 rules"},
	}
	for _, tt := range tests {
		rs, err := Parse(strings.NewReader(tt.text))
		if err == nil {
			t.Errorf("%.40q: accepted as %v", tt.text, rs)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestDebianRules(t *testing.T) {
	f, err := os.Open("debian.rules")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rs, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]signer.Action{
		"/usr/bin/dash":                        signer.ActionSign,
		"/usr/lib/x86_64-linux-gnu/libc.so.6":  signer.ActionSign,
		"/usr/lib/modules/6.1.0/kernel/x.ko":   signer.ActionSign,
		"/usr/share/doc/var/log/README":        signer.ActionSign,
		"/etc/ssh/sshd_config":                 signer.ActionSign,
		"/etc/ssh/ssh_host_rsa_key":            signer.ActionHash,
		"/etc/machine-id":                      signer.ActionHash,
		"/etc/passwd":                          signer.ActionHash,
		"/etc/resolv.conf":                     signer.ActionHash,
		"/etc/adjtime":                         signer.ActionHash,
		"/etc/mtab":                            signer.ActionHash,
		"/etc/ld.so.cache":                     signer.ActionSkip,
		"/var/log/dpkg.log":                    signer.ActionHash,
		"/var/lib/dpkg/status":                 signer.ActionHash,
		"/var/lib/dpkg/info/bash.list":         signer.ActionHash,
		"/var/lib/dpkg/info/bash.postinst":     signer.ActionSign,
		"/var/lib/apt/lists/mirror_Packages":   signer.ActionSkip,
		"/var/cache/apt/archives/bash_5.2.deb": signer.ActionSkip,
		"/tmp/x":                               signer.ActionSkip,
		"/run/utmp":                            signer.ActionSkip,
		"/home/me/.cache/thumbnails/x.png":     signer.ActionHash, // home comes later, and wins
		"/root/.bashrc":                        signer.ActionHash,
	} {
		if got := rs.Action([]string{path}); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"sign /a\nhash b/\nskip **/c/*.d\n",
		"skip [!a-z]{x,y}\\*",
		"# only a comment",
		"hash a/**/b\r\n",
		"skip " + strings.Repeat("*a", 40),
		"skip " + strings.Repeat("**/a/", 20) + "b",
	} {
		f.Add(s, "/a/b/c.d")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		rs, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		rs.Action([]string{path, "/x"})
		for _, r := range rs.rules {
			below := path + "/below"
			if r.pattern.match(path, strings.Split(path, "/")) && !r.pattern.match(below, strings.Split(below, "/")) {
				t.Errorf("%q matches %q, but not what is below", r.pattern.parts, path)
			}
		}
	})
}

func BenchmarkAction(b *testing.B) {
	text, err := os.ReadFile("debian.rules")
	if err != nil {
		b.Fatal(err)
	}
	rs, err := Parse(strings.NewReader(string(text)))
	if err != nil {
		b.Fatal(err)
	}
	paths := []string{"/usr/lib/modules/6.1.0-56-amd64/kernel/drivers/net/ethernet/intel/e1000/e1000.ko"}
	for b.Loop() {
		rs.Action(paths)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(path, []byte("skip /a\nfrob /b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), path); err == nil || !strings.HasPrefix(err.Error(), path+": line 2: ") {
		t.Error(err)
	}
	if _, err := Load(t.Context(), path+"x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	rs, err := Load(t.Context(), "debian.rules")
	if err != nil || rs.Action([]string{"/bin/true"}) != signer.ActionSign {
		t.Errorf("%v, %v", rs, err)
	}
}

// TestUnmatched: a rule has matched also where another overrides it, and through any
// name of a file.
func TestUnmatched(t *testing.T) {
	rs, err := Parse(strings.NewReader("# a comment\nhash /var/log/\nsign /var/log/installer/\nskip /ect/passwd\n\nskip *.o\n  hash /b  \nsign **\n"))
	if err != nil {
		t.Fatal(err)
	}
	files := [][]string{{"/var/log/installer/syslog"}, {"/a", "/b"}, {"/etc/passwd"}}
	got := rs.Unmatched(slices.Values(files))
	want := []Line{{4, "skip /ect/passwd"}, {6, "skip *.o"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := rs.Unmatched(slices.Values(files[:0])); len(got) != 6 || got[0].Number != 2 || got[4] != (Line{7, "hash /b"}) {
		t.Errorf("without files: %v", got)
	}
	if got := (&Rules{}).Unmatched(slices.Values(files)); got != nil {
		t.Errorf("without rules: %v", got)
	}
}

// TestStarters: all of them can be loaded by name, sign programs, libraries and modules, and give
// no more than a digest to what each running system changes.
func TestStarters(t *testing.T) {
	if got := strings.Join(StarterNames(), " "); got != "alpine debian fedora ubuntu" {
		t.Errorf("names: %s", got)
	}
	for _, name := range StarterNames() {
		rs, err := Load(t.Context(), StarterPrefix+name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for want, paths := range map[signer.Action][]string{
			signer.ActionSign: {"/bin/busybox", "/usr/bin/bash", "/usr/local/bin/x", "/opt/x/bin/x", "/lib/libc.so.6", "/usr/lib64/libc.so.6",
				"/lib/modules/6.1/kernel/x.ko", "/usr/lib/modules/6.1/kernel/x.ko.xz", "/usr/lib/firmware/x.bin", "/boot/vmlinuz-6.1",
				"/etc/ssh/sshd_config", "/etc/init.d/x", "/usr/libexec/x", "/srv/etc/passwd"},
			signer.ActionHash: {"/etc/passwd", "/etc/shadow", "/etc/machine-id", "/etc/resolv.conf", "/etc/ssh/ssh_host_rsa_key",
				"/var/log/messages", "/var/lib/x/state", "/root/.profile", "/home/me/x"},
			signer.ActionSkip: {"/tmp/x", "/run/x", "/var/cache/x", "/var/tmp/x"},
		} {
			for _, path := range paths {
				if got := rs.Action([]string{path}); got != want {
					t.Errorf("%s: %s: %v, want %v", name, path, got, want)
				}
			}
		}
	}
	for name, paths := range map[string][]string{
		"ubuntu": {"/etc/timezone", "/etc/netplan/50-cloud-init.yaml"}, // Debian's, and its own
		"fedora": {"/usr/lib/sysimage/rpm/rpmdb.sqlite", "/boot/grub2/grubenv", "/etc/selinux/targeted/policy/policy.33"},
		"alpine": {"/lib/apk/db/installed", "/etc/apk/world"},
	} {
		rs, err := Load(t.Context(), StarterPrefix+name)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if got := rs.Action([]string{path}); got != signer.ActionHash {
				t.Errorf("%s: %s: %v", name, path, got)
			}
		}
	}
	if _, err := Load(t.Context(), "@slackware"); err == nil || !strings.Contains(err.Error(), "only alpine, debian, fedora, ubuntu") {
		t.Error(err)
	}
}
