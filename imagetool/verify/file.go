package verify

import (
	"context"

	"github.com/vmseal/vmseal/imagetool"
	"github.com/vmseal/vmseal/imagetool/fsys"
	"github.com/vmseal/vmseal/keys"
	"github.com/vmseal/vmseal/signer"
)

// File checks the label of one regular file, which should be a signature. A file that cannot be
// read has a finding that says so.
func File(ctx context.Context, s *imagetool.FileSystem, in fsys.Inode, name string, trust *keys.TrustStore) (*signer.Finding, error) {
	var finding *signer.Finding
	_, err := signer.Verify(ctx, s.Single(name, in), trust, signer.VerifyOptions{
		KeepGoing: true,
		Result:    func(f *signer.Finding) error { finding = f; return nil },
	})
	return finding, err
}
