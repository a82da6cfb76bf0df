//go:build amd64

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// imaKeyring makes a keyring of the name that the kernel searches for, where a search from this process finds it.
func imaKeyring(certs []string) error {
	ring, err := unix.AddKey("keyring", "_ima", nil, unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		return fmt.Errorf("making the keyring: %w", err)
	}
	if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_SESSION_KEYRING, 0, 0); err != nil {
		return fmt.Errorf("linking the user's keyring to the session's: %w", err)
	}
	for _, name := range certs {
		der, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		// No description: the kernel names the key by the certificate's key id, as it will look for it.
		if _, err := unix.AddKey("asymmetric", "", der, ring); err != nil {
			return fmt.Errorf("adding %s: %w", name, err)
		}
	}
	if _, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "keyring", "_ima", 0); err != nil {
		return fmt.Errorf("searching the keyring: %w", err)
	}
	return nil
}
