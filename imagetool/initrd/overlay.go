package initrd

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/vmseal/vmseal/formats/policy"
)

// DebianPolicy is the text of a policy for guests like Debian.
//
//go:embed debian.policy
var DebianPolicy string

//go:embed vmseal-init
var initScript string

// Types and permissions as in st_mode.
const (
	dir     = 0o040755
	program = 0o100755
	data    = 0o100444
)

// Options say what an overlay does not do.
type Options struct {
	NoLockdown bool // go on with a kernel that is not locked down
}

// Overlay gives the bytes to append to an initrd. The same policy and options give the
// same bytes.
func Overlay(p *policy.Policy, o Options) []byte {
	var rules strings.Builder
	for _, rule := range p.Rules() {
		rules.WriteString(rule + "\n")
	}
	var a archive
	a.add("proc", dir, "")
	a.add("sys", dir, "")
	a.add("vmseal-init", program, script(o))
	a.add("vmseal-policy", data, rules.String())
	return a.gzip()
}

// lockdown is what the paragraph of the script that looks at lockdown has in it, and no
// other one.
const lockdown = "/sys/kernel/security/lockdown"

// script leaves out the paragraph that is not wanted. Paragraphs end with an empty line.
func script(o Options) string {
	if !o.NoLockdown {
		return initScript
	}
	paragraphs := strings.Split(initScript, "\n\n")
	return strings.Join(slices.DeleteFunc(paragraphs, func(p string) bool { return strings.Contains(p, lockdown) }), "\n\n")
}
