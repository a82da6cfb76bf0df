package initrd

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrUUID is given for what is not a UUID as blkid(8) prints one.
var ErrUUID = errors.New("not a UUID like 01234567-89ab-cdef-0123-456789abcdef")

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ReadsPolicy gives the text of rules to append to a policy, by which no file of the file
// system with that UUID can be opened without a signature, not even for reading. With
// rootOnly they are about processes with the effective user id 0.
//
// The function is FILE_CHECK, which the kernel asks about when a regular file is opened
// (ima_file_check, security/integrity/ima/ima_main.c).
func ReadsPolicy(fsuuid string, rootOnly bool) (string, error) {
	fsuuid = strings.ToLower(fsuuid)
	if !uuid.MatchString(fsuuid) {
		return "", fmt.Errorf("%.80q: %w", fsuuid, ErrUUID)
	}
	who, option := "anybody", ""
	if rootOnly {
		who, option = "root", " euid=0"
	}
	return fmt.Sprintf(`
# No file of this file system can be opened by %s without a signature, not even for reading.
appraise func=FILE_CHECK fsuuid=%s%s appraise_type=imasig
`, who, fsuuid, option), nil
}
