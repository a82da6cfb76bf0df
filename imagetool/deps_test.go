package imagetool

import (
	"go/build"
	"slices"
	"strings"
	"testing"
)

// allowed says what each package may import besides the standard library: of
// ours by path below the module, of others by module path.
var allowed = map[string][]string{
	"disk": {
		"github.com/diskfs/go-diskfs/partition/gpt", // never its file systems
		"github.com/diskfs/go-diskfs/partition/mbr",
		"golang.org/x/sys/unix",
	},
	"ext4": {},
	".": {
		"vmseal/formats/ima",
		"vmseal/formats/manifest",
		"vmseal/imagetool/disk",
		"vmseal/imagetool/ext4",
		"vmseal/signer", // File and Tree, and none of the packages below it
	},
	"cmd/imagetool": {
		"vmseal/imagetool",
		"vmseal/imagetool/disk",
		"vmseal/imagetool/ext4",
		"vmseal/keys",
		"vmseal/signer",
		"vmseal/signer/cli",
		"vmseal/signer/rules",
		"github.com/spf13/cobra",
		"golang.org/x/sys/unix",
	},
}

func TestImports(t *testing.T) {
	for dir, want := range allowed {
		p, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range p.Imports {
			if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
				continue // the standard library
			}
			if short := strings.TrimPrefix(path, "github.com/vmseal/"); !slices.Contains(want, short) {
				t.Errorf("%s imports %s", dir, path)
			}
		}
	}
}
