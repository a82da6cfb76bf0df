// Package verify holds an image against the manifest of an earlier run, and one of its
// files against its label. What a label is worth is the business of package signer.
package verify
