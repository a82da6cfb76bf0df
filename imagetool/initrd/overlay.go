package initrd

import (
	_ "embed"
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

// Overlay gives the bytes to append to an initrd. The same policy gives the same
// bytes.
func Overlay(p *policy.Policy) []byte {
	var rules strings.Builder
	for _, rule := range p.Rules() {
		rules.WriteString(rule + "\n")
	}
	var a archive
	a.add("proc", dir, "")
	a.add("sys", dir, "")
	a.add("vmseal-init", program, initScript)
	a.add("vmseal-policy", data, rules.String())
	return a.gzip()
}
