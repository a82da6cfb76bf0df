package signer

import (
	"github.com/vmseal/vmseal/formats/ima"
	"github.com/vmseal/vmseal/keys"
)

// idOfOther gives the id of the key that made a label, if it is a signature by another
// key than that of this id. A label that is none has no key.
func idOfOther(label []byte, own ima.KeyID) string {
	v, err := ima.Parse(label)
	switch {
	case err != nil || !v.IsSignature():
		return ""
	case v.Version == 1:
		return v.KeyIDV1.String()
	case v.KeyID == own:
		return ""
	}
	return v.KeyID.String()
}

// MayKeep reports whether a label may be one to be left alone: a signature of files'
// contents that names a key of the store. Only the contents tell whether it verifies.
func MayKeep(label []byte, store *keys.TrustStore) (ima.Value, bool) {
	if store == nil {
		return ima.Value{}, false
	}
	v, err := ima.Parse(label)
	if err != nil || v.Type != ima.Signature || v.Version != 2 || CheckHash(v.Hash) != nil {
		return ima.Value{}, false
	}
	_, known := store.Lookup(v.KeyID)
	return v, known
}
