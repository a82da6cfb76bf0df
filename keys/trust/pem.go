package trust

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
)

// PEMType is the label of a SubjectPublicKeyInfo (RFC 7468, section 13).
const PEMType = "PUBLIC KEY"

// NextBlock takes the first PEM block off data, which may hold white space before and
// behind it but nothing else.
//
// pem.Decode skips what it cannot read, so that a damaged key would vanish from
// a store without a word, and lets the last of doubled headers win. So the block
// must be exactly what pem.Encode makes of it.
func NextBlock(data []byte) (block *pem.Block, rest []byte, err error) {
	block, rest = pem.Decode(data)
	if block == nil {
		return nil, nil, errors.New("no PEM block, or a damaged one")
	}
	if block.Type != PEMType {
		return nil, nil, fmt.Errorf("PEM block is %q, want %q", block.Type, PEMType)
	}
	text := bytes.TrimSpace(data[:len(data)-len(rest)])
	if !bytes.Equal(text, bytes.TrimSpace(pem.EncodeToMemory(block))) {
		return nil, nil, errors.New("PEM block is damaged, not alone or not in canonical form (headers sorted and single, lines of 64 characters, no carriage returns)")
	}
	return block, bytes.TrimSpace(rest), nil
}
