package enforcer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

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
	keyring, sigLen, digestLen := uint32(h.regs.RDI), uint32(h.regs.RDX), uint32(h.regs.R8)
	file := h.e.awaited[h.regs.RSI]
	h.r.Path, h.r.Func = file.Path, file.Func
	delete(h.e.awaited, h.regs.RSI)
	sig, digest := span(h.regs.RSI, int(min(sigLen, maxValue))), span(h.regs.RCX, int(min(digestLen, maxDigest)))
	if err := h.arguments(sig, digest); err != nil {
		return err
	}
	if err := h.inForce(); err != nil {
		return err
	}
	switch err := unread(sig, digest); {
	case keyring != keyringIMA:
		return h.returns(Deny, keyRejected, fmt.Sprintf("keyring %d is not that of IMA", keyring))
	case sigLen == 0 || sigLen > maxValue || digestLen == 0 || digestLen > maxDigest:
		return h.returns(Deny, keyRejected, fmt.Sprintf("signature of %d bytes, digest of %d", int32(sigLen), int32(digestLen)))
	case err != nil:
		return h.returns(Deny, keyRejected, err.Error())
	}
	start := time.Now()
	key, err := h.e.trust.Load().verify(sig.Buf, digest.Buf)
	h.verify, h.r.Key, h.r.Digest = time.Since(start), key, hex.EncodeToString(digest.Buf)
	if err != nil {
		return h.returns(Deny, keyRejected, err.Error())
	}
	return h.returns(Allow, 0, "")
}

// verify names the key that the label names, if it is a signature, whatever the verdict.
func (t *Trust) verify(label, digest []byte) (key string, err error) {
	s, err := digsig.Parse(label)
	if err != nil {
		return "", err
	}
	if _, err = t.Keys.Verify(s, digest); err == nil && t.Denied[string(digest)] {
		err = errors.New("digest is on the deny list")
	}
	return s.KeyID.String(), err
}
