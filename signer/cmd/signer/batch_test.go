package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/ima"
)

// sumLine writes a line as sha256sum of coreutils does.
func sumLine(name string, binary bool) string {
	esc := strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r").Replace(name)
	mark, mode := "", " "
	if esc != name {
		mark = "\\"
	}
	if binary {
		mode = "*"
	}
	return fmt.Sprintf("%s%x %s%s", mark, sha256.Sum256([]byte(name)), mode, esc)
}

func FuzzParseLine(f *testing.F) {
	f.Add("plain", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -")
	f.Add("a\nb\\c\rd", "\\e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 *a\\q")
	f.Add(" *x", "")
	f.Add("\xff", "SHA256 (x) = 00")
	f.Fuzz(func(t *testing.T, name, line string) {
		if it, err := parseLine(line, ima.SHA256); err == nil && (len(it.digest) != sha256.Size || it.name == "") {
			t.Errorf("%q is read as %+v", line, it)
		}
		if name == "" {
			return
		}
		for _, binary := range []bool{false, true} {
			sum := sha256.Sum256([]byte(name))
			it, err := parseLine(sumLine(name, binary), ima.SHA256)
			if err != nil || it.name != name || string(it.digest) != string(sum[:]) {
				t.Errorf("%q: %+v, %v", name, it, err)
			}
		}
	})
}

func TestParseLineRefuses(t *testing.T) {
	sum := fmt.Sprintf("%x", sha256.Sum256(nil))
	for _, line := range []string{
		"", sum, sum + " ", sum + "  ", sum + " name", sum + "\t name", sum[2:] + "  name", sum + "00  name",
		"zz" + sum[2:] + "  name", "\\" + sum + "  a\\", "\\" + sum + "  a\\t", " " + sum + "  name",
	} {
		if it, err := parseLine(line, ima.SHA256); err == nil {
			t.Errorf("%q is read as %+v", line, it)
		}
	}
}
