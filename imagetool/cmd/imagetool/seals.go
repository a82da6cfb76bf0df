package main

import (
	"fmt"

	"github.com/vmseal/vmseal/imagetool/seals"
	"github.com/vmseal/vmseal/signer/cli"
)

// escapeSeals makes valid UTF-8 of the paths in seals. It never gives nil.
func escapeSeals(all []seals.Seal) []seals.Seal {
	escaped := []seals.Seal{}
	for _, s := range all {
		s.Path, s.Text = cli.Escape(s.Path), cli.Escape(s.Text)
		escaped = append(escaped, s)
	}
	return escaped
}

// warnOfBroken names what --break-seals has cost.
func warnOfBroken(out *cli.Output, broken []seals.Seal) {
	for _, s := range broken {
		out.Warn(cli.WithHint(fmt.Errorf("this integrity layer holds no more: %s", s.Text), "make it anew of the signed image"))
	}
}
