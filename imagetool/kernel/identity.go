package kernel

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/vmseal/vmseal/formats/profile"
)

const (
	maxBanner = 512
	utsFields = 6
	utsField  = 64 + 1 // __NEW_UTS_LEN and a NUL
)

// identity tells which kernel it is: release, banner and build id.
func (k *builder) identity(p *profile.Profile) (err error) {
	if p.Banner, err = k.image.text(p.Variables.Banner, maxBanner); err != nil {
		return fmt.Errorf("linux_banner: %w", err)
	}
	if p.Release, err = k.release(); err != nil {
		return fmt.Errorf("init_uts_ns: %w", err)
	}
	if !strings.HasPrefix(p.Banner, "Linux version "+p.Release+" (") || !strings.HasSuffix(p.Banner, "\n") {
		return &BannerError{p.Banner, p.Release}
	}
	id, err := k.image.buildID()
	p.BuildID = hex.EncodeToString(id)
	return err
}

// said gives the release that a file says it has; "" if it says none. It needs no symbols,
// and serves to tell people which kernel it is that has no profile.
func said(elf []byte) string {
	for at := 0; ; {
		n := bytes.Index(elf[at:], []byte(bannerStart))
		if n < 0 {
			return ""
		}
		at += n + len(bannerStart)
		text, _, ok := bytes.Cut(elf[at:min(len(elf), at+utsField)], []byte(" ("))
		if ok && len(text) > 0 && !bytes.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '%' }) {
			return string(text)
		}
	}
}

// release reads what uname(2) will tell.
func (k *builder) release() (string, error) {
	at, err := k.symbols.addr("init_uts_ns")
	if err != nil {
		return "", err
	}
	name, err := k.types.offset(member{"uts_namespace", "name", "struct new_utsname", utsFields * utsField})
	if err != nil {
		return "", err
	}
	release, err := k.types.offset(member{"new_utsname", "release", fmt.Sprintf("char[%d]", utsField), utsField})
	if err != nil {
		return "", err
	}
	return k.image.text(at+uint64(name)+uint64(release), utsField-1)
}
