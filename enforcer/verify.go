package enforcer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/keys/trust"
)

const (
	keyringIMA = 1    // INTEGRITY_KEYRING_IMA (security/integrity/integrity.h)
	maxValue   = 2048 // beyond every signature of a key that keys accepts
	maxDigest  = 64   // of SHA-512

	// keyRejected is -EKEYREJECTED. Not every number would do: with -EOPNOTSUPP or
	// -ENOKEY the caller tries another way.
	keyRejected = ^uint64(129) + 1
)

// Trust is whose signatures count, and which files count no more.
type Trust struct {
	Keys   *trust.Store
	Denied map[string]bool // digests that were signed, as bytes
}

// digsigVerify answers integrity_digsig_verify(id, sig, siglen, digest, digestlen).
func (h *hit) digsigVerify() error {
	regs := &h.stop.Regs
	sigLen, digestLen := int32(regs.RDX), int32(regs.R8)
	var ranges []guest.Range
	sized := sigLen > 0 && sigLen <= maxValue && digestLen > 0 && digestLen <= maxDigest
	if sized {
		ranges = []guest.Range{
			{Addr: regs.RSI, Buf: make([]byte, sigLen)},
			{Addr: regs.RCX, Buf: make([]byte, digestLen)},
		}
	}
	ranges, err := h.read(ranges...)
	if err != nil {
		return err
	}
	if err := h.inForce(); err != nil {
		return err
	}
	file := h.e.awaited[regs.RSI]
	h.r.Path, h.r.Func = file.path, file.fn
	delete(h.e.awaited, regs.RSI)
	switch err := firstErr(ranges); {
	case uint32(regs.RDI) != keyringIMA:
		h.returns(Deny, keyRejected, fmt.Sprintf("keyring %d is not that of IMA", uint32(regs.RDI)))
	case !sized:
		h.returns(Deny, keyRejected, fmt.Sprintf("signature of %d bytes, digest of %d", sigLen, digestLen))
	case err != nil:
		h.returns(Deny, keyRejected, err.Error())
	default:
		h.signature(ranges[0].Buf, ranges[1].Buf)
	}
	return nil
}

// signature gives the verdict over a label and the digest that the kernel computed.
func (h *hit) signature(label, digest []byte) {
	start := time.Now()
	h.r.Digest = hex.EncodeToString(digest)
	var err error
	h.r.Key, err = h.e.trust.Load().verify(label, digest)
	h.verify = time.Since(start)
	if err != nil {
		h.returns(Deny, keyRejected, err.Error())
		return
	}
	h.returns(Allow, 0, "")
}

var errRevoked = errors.New("digest is on the deny list")

// verify names the key that the label names, if it is a signature, whatever the verdict.
func (t *Trust) verify(label, digest []byte) (key string, err error) {
	s, err := digsig.Parse(label)
	if err != nil {
		return "", err
	}
	if _, err = t.Keys.Verify(s, digest); err == nil && t.Denied[string(digest)] {
		err = errRevoked
	}
	return s.KeyID.String(), err
}
