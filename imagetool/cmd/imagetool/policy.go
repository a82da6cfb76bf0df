package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/formats/policy"
	"github.com/vmseal/vmseal/imagetool/initrd"
	"github.com/vmseal/vmseal/keys/input"
	"github.com/vmseal/vmseal/signer/cli"
)

// defaultPolicy stands, as a name of a file, for the policy that is part of the program.
const defaultPolicy = "@default"

const policyHint = "'imagetool initrd --print-policy' prints a policy that protects"

// readPolicy reads a policy that protects, and warns of what better were appraised, too.
// None of the outputs may be the policy.
func readPolicy(cmd *cobra.Command, path string, outputs ...string) (*policy.Policy, error) {
	text, err := policyText(cmd, path)
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(text)
	if err != nil {
		return nil, cli.WithHint(fmt.Errorf("%s: %w", path, err), policyHint)
	}
	if names := p.Unappraised(); len(names) > 0 {
		cli.Out(cmd).Warn(fmt.Errorf("%s: not every file is appraised for %s", path, strings.Join(names, ", ")))
	}
	for _, output := range outputs {
		if sameFile(path, output) {
			return nil, fmt.Errorf("output %s is the policy", output)
		}
	}
	return p, nil
}

func policyText(cmd *cobra.Command, path string) ([]byte, error) {
	if path == defaultPolicy {
		return []byte(initrd.DebianPolicy), nil
	}
	return input.Read(cmd.Context(), path, policy.MaxSize)
}

// sameFile is false where one of them is not there.
func sameFile(a, b string) bool {
	in, err := os.Stat(a)
	if err != nil {
		return false
	}
	out, err := os.Stat(b)
	return err == nil && os.SameFile(in, out)
}
