package main

import (
	"context"
	"fmt"

	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/imagetool/verify"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
	"github.com/vmseal/vmseal/signer/cli"
)

// labelReport is the "label" object of xattr: what a value of security.ima means.
type labelReport struct {
	Type    string `json:"type"`
	Path    string `json:"path"`
	Kind    string `json:"kind"` // "signature", "fs-verity signature", "digest", "malformed" or "none"
	Version int    `json:"version,omitempty"`
	Hash    string `json:"hash,omitempty"`
	KeyID   string `json:"key_id,omitempty"`
	KeyName string `json:"key_name,omitempty"`
	Verdict string `json:"verdict,omitempty"` // with --trust
	Reason  string `json:"reason,omitempty"`
	Detail  string `json:"detail,omitempty"`

	path    string
	finding *signer.Finding // with --trust
}

func newLabelReport(path string) *labelReport {
	return &labelReport{Type: "label", Path: cli.Escape(path), Kind: "none", path: path}
}

// explain reads the value by itself.
func (l *labelReport) explain(value []byte) {
	v, err := ima.Parse(value)
	if err != nil {
		l.Kind, l.Detail = "malformed", cli.Escape(err.Error())
		return
	}
	l.Hash = v.Hash.String()
	switch {
	case v.Type == ima.VeritySignature:
		l.Kind = "fs-verity signature"
	case v.IsSignature():
		l.Kind = "signature"
	default:
		l.Kind = "digest"
		return
	}
	l.Version, l.KeyID = int(v.Version), v.KeyID.String()
	if v.Version == 1 {
		l.KeyID = v.KeyIDV1.String()
	}
}

// judge checks the label of a regular file.
func (l *labelReport) judge(ctx context.Context, s *imagetool.FileSystem, in fsys.Inode, trust *keys.TrustStore) error {
	if !in.Stat().IsRegular() {
		return fmt.Errorf("%s: %s: only regular files have signatures", l.path, in.Stat().Kind())
	}
	f, err := verify.File(ctx, s, in, l.path, trust)
	if err != nil {
		return err
	}
	l.finding = f
	l.Verdict, l.Reason = f.Verdict.String(), string(f.Reason)
	if f.Key != nil {
		l.KeyName = f.Key.Name
	}
	if f.Err != nil {
		l.Detail = cli.Escape(f.Err.Error())
	}
	return nil
}

// result is an error unless the label was found to be a signature which verifies.
func (l *labelReport) result() error {
	if l.finding.Verdict != signer.Valid {
		return cli.Incompletef("%s: not verified", l.path)
	}
	return nil
}

func (l *labelReport) print(out *cli.Output) {
	out.Object(l)
	kind := l.Kind
	if l.Version != 0 {
		kind = fmt.Sprintf("%s, version %d", kind, l.Version)
	}
	if l.Kind == "malformed" && l.Verdict == "" {
		kind += ": " + cli.Printable(l.Detail)
	}
	rows := [][]string{{"  label", kind}}
	row := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{"  " + name, value})
		}
	}
	row("hash", l.Hash)
	key := l.KeyID
	if l.KeyName != "" {
		key += " (" + l.KeyName + ")"
	}
	row("key", key)
	if l.finding != nil {
		row("verdict", cli.FindingText(l.finding))
	}
	out.Table(rows)
}
