package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/vmseal/vmseal/signer/cli"
)

func main() { os.Exit(cli.Main(newRoot(), hint)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "signer",
		Short: "Sign files for the Linux integrity subsystem",
		Long: `Signer makes keys and puts RSA signatures on files, in the extended attribute
security.ima, where the Linux integrity subsystem (IMA) looks for them.

The values are those of "evmctl ima_sign". A signature covers the contents of a
file: not its name, owner or mode.

Exit codes: 0 done, and all good; 1 failed; 2 wrong usage; 3 done, but some
files failed or do not verify.`,
		Example: `  signer key new --out keys                 make a key
  signer sign --key keys/private.pem /usr   sign what is below /usr
  signer verify --trust keys/cert.pem /usr  check it`,
	}
	root.AddCommand(newKey(), newSign(), newVerify(), newBlob(), cli.RulesCommand("signer"))
	return root
}
