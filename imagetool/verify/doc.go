// Package verify holds an image against the manifest of an earlier run. That labels are
// right is the business of package signer.
package verify
