package enforce

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/vmseal/vmseal/scripts/internal/bed"
)

// key is what `signer key new` made.
type key struct{ private, cert, der string }

// The keys of a run: sealed signed the image, second is trusted too until a test takes it away, foreign is nobody's.
type keySet struct{ sealed, second, foreign key }

var theKeys = sync.OnceValues(func() (*keySet, error) {
	dir, err := bed.NewDir()
	if err != nil {
		return nil, err
	}
	s := &keySet{}
	for name, k := range map[string]*key{"sealed": &s.sealed, "second": &s.second, "foreign": &s.foreign} {
		out := filepath.Join(dir, name)
		if _, err := bed.Output(bed.AsNobody("signer", "key", "new", "--out", out, "--name", name)); err != nil {
			return nil, err
		}
		*k = key{filepath.Join(out, "private.pem"), filepath.Join(out, "cert.pem"), filepath.Join(out, "cert.der")}
		if _, err := bed.Output(bed.Peer("openssl", "x509", "-in", k.cert, "-outform", "DER", "-out", k.der)); err != nil {
			return nil, err
		}
	}
	return s, nil
})

// trust writes a trust store of these keys. It belongs to root, as the enforcer wants it.
func trust(to string, keys ...key) error {
	args := []string{"key", "trust", "--out", to}
	for _, k := range keys {
		args = append(args, k.cert)
	}
	_, err := bed.Output(bed.AsNobody("signer", args...))
	return errors.Join(err, os.Chown(to, 0, 0))
}
