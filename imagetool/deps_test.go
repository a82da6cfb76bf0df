package imagetool

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// deps are named by path, ours by the path below github.com/vmseal.
type deps struct {
	imports []string // what the package may import besides the standard library
	brings  []string // what may come with that; nil for a command, which takes what it gets
}

// unpacking is what it takes to look into a kernel: what it is compressed with,
// and its types. A name that ends in "/..." stands for all that is below it.
var (
	unpacking = []string{
		"github.com/cilium/ebpf/btf",
		"github.com/klauspost/compress/zstd",
		"github.com/mikelolasagasti/xz",
		"github.com/pierrec/lz4/v4",
		"github.com/ulikunitz/xz/lzma",
	}
	unpackingBrings = []string{
		"github.com/cilium/ebpf/asm",
		"github.com/cilium/ebpf/internal/...",
		"github.com/klauspost/compress/...",
		"github.com/pierrec/lz4/v4/internal/...",
		"github.com/ulikunitz/xz/internal/...",
	}
)

// imageBrings is what comes with an image.
var imageBrings = []string{
	"github.com/diskfs/go-diskfs/...",
	"github.com/google/uuid",
	"github.com/klauspost/compress/...",
	"github.com/mikelolasagasti/xz",
	"golang.org/x/sync/errgroup",
	"golang.org/x/sys/unix",
	"vmseal/formats/digsig",
	"vmseal/formats/escape",
	"vmseal/formats/ima",
	"vmseal/formats/volume",
	"vmseal/imagetool/block",
	"vmseal/imagetool/carry",
	"vmseal/imagetool/container",
	"vmseal/imagetool/disk",
	"vmseal/imagetool/ext4",
	"vmseal/imagetool/fsys/...",
	"vmseal/imagetool/hostfile",
	"vmseal/imagetool/lvm",
	"vmseal/imagetool/nbd",
	"vmseal/imagetool/output",
	"vmseal/imagetool/undo",
	"vmseal/imagetool/unpack",
	"vmseal/keys/...",
	"vmseal/signer",
}

// allowed has every package of the folder. Signing an image knows files and
// labels: not how keys are read (keys/private), nor mounted trees
// (signer/hosttree), nor commands (signer/cli).
var allowed = map[string]deps{
	"vmseal/imagetool/archive": {imports: []string{"vmseal/formats/ima"}, brings: []string{"vmseal/formats/digsig"}},
	"vmseal/imagetool/archive/stream": {
		imports: []string{
			"golang.org/x/sync/errgroup",
			"vmseal/formats/ima",
			"vmseal/imagetool/archive",
			"vmseal/imagetool/fsys", // ErrEVM
			"vmseal/keys",
			"vmseal/signer",
		},
		brings: []string{"golang.org/x/sys/unix", "vmseal/formats/digsig", "vmseal/imagetool/block", "vmseal/imagetool/undo", "vmseal/keys/trust"},
	},
	"vmseal/imagetool/block": {brings: []string{}},
	"vmseal/imagetool/carry": {
		imports: []string{"vmseal/imagetool/block", "vmseal/imagetool/undo"},
		brings:  []string{},
	},
	"vmseal/imagetool/container": {
		imports: []string{
			"golang.org/x/sys/unix",
			"vmseal/imagetool/block",
			"vmseal/imagetool/disk", // RefusedError
			"vmseal/imagetool/hostfile",
			"vmseal/imagetool/nbd",
		},
		brings: []string{
			"github.com/diskfs/go-diskfs/...",
			"github.com/google/uuid",
			"vmseal/formats/volume",
			"vmseal/imagetool/lvm",
			"vmseal/imagetool/undo",
		},
	},
	"vmseal/imagetool/disk": {
		imports: []string{
			"github.com/diskfs/go-diskfs/partition/gpt", // never its file systems
			"vmseal/formats/volume",
			"vmseal/imagetool/block",
			"vmseal/imagetool/lvm",
		},
		brings: []string{
			"github.com/diskfs/go-diskfs/backend",
			"github.com/diskfs/go-diskfs/partition/part",
			"github.com/google/uuid",
		},
	},
	"vmseal/imagetool/ext4": {brings: []string{}},
	"vmseal/imagetool/fsys": {
		imports: []string{"vmseal/imagetool/block", "vmseal/imagetool/undo"},
		brings:  []string{},
	},
	// Nobody else knows ext4.
	"vmseal/imagetool/fsys/extfs": {
		imports: []string{"vmseal/imagetool/block", "vmseal/imagetool/ext4", "vmseal/imagetool/fsys", "vmseal/imagetool/undo"},
		brings:  []string{},
	},
	"vmseal/imagetool/hostfile": {
		imports: []string{
			"golang.org/x/sys/unix",
			"vmseal/imagetool/block",
			"vmseal/imagetool/undo",
		},
		brings: []string{},
	},
	"vmseal/imagetool/initrd": {
		imports: []string{"vmseal/formats/policy"},
		brings:  []string{},
	},
	"vmseal/imagetool/internal/fakekernel": {imports: []string{"github.com/cilium/ebpf/btf", "vmseal/formats/profile"}},
	"vmseal/imagetool/internal/disktest":   {brings: []string{}},
	"vmseal/imagetool/internal/lvmtest":    {brings: []string{}},
	"vmseal/imagetool/internal/refusals":   {brings: []string{}},
	"vmseal/imagetool/kernel": {
		imports: append([]string{"vmseal/formats/profile"}, unpacking...),
		brings:  append([]string{"vmseal/formats/digsig", "golang.org/x/sys/unix"}, unpackingBrings...),
	},
	"vmseal/imagetool/lvm": {
		imports: []string{"vmseal/formats/volume", "vmseal/imagetool/block"},
		brings:  []string{},
	},
	"vmseal/imagetool/nbd": {
		imports: []string{"vmseal/imagetool/block"},
		brings:  []string{},
	},
	"vmseal/imagetool/output": {
		imports: []string{
			"golang.org/x/sys/unix",
			"vmseal/imagetool/block",
			"vmseal/imagetool/hostfile",
			"vmseal/imagetool/undo",
		},
		brings: []string{},
	},
	"vmseal/imagetool/undo": {brings: []string{}},
	"vmseal/imagetool/unpack": {
		imports: []string{
			"github.com/klauspost/compress/zstd",
			"github.com/mikelolasagasti/xz",
			"vmseal/imagetool/block",
			"vmseal/imagetool/hostfile",
		},
		brings: []string{"github.com/klauspost/compress/...", "golang.org/x/sys/unix", "vmseal/imagetool/undo"},
	},
	"vmseal/imagetool": {
		imports: []string{
			"vmseal/formats/ima",
			"vmseal/formats/volume",
			"vmseal/imagetool/block",
			"vmseal/imagetool/carry",
			"vmseal/imagetool/container",
			"vmseal/imagetool/disk",
			"vmseal/imagetool/fsys",
			"vmseal/imagetool/fsys/extfs",
			"vmseal/imagetool/hostfile",
			"vmseal/imagetool/output",
			"vmseal/imagetool/undo",
			"vmseal/imagetool/unpack",
			"vmseal/signer",
		},
		brings: imageBrings,
	},
	// What is done with an image. These know files, labels and names of outputs: no kind
	// of file system, no kind of disk, and no file that an image lies in.
	"vmseal/imagetool/diff": {
		imports: []string{"vmseal/formats/ima", "vmseal/formats/volume", "vmseal/imagetool", "vmseal/imagetool/fsys", "vmseal/keys", "vmseal/signer"},
		brings:  imageBrings,
	},
	"vmseal/imagetool/inspect": {
		imports: []string{
			"vmseal/formats/ima",
			"vmseal/formats/volume",
			"vmseal/imagetool",
			"vmseal/imagetool/archive",
			"vmseal/imagetool/disk", // Volume
			"vmseal/imagetool/fsys",
			"vmseal/imagetool/seals",
		},
		brings: imageBrings,
	},
	"vmseal/imagetool/profile": {
		imports: []string{
			"vmseal/formats/ima",
			"vmseal/formats/policy",
			"vmseal/formats/profile",
			"vmseal/imagetool",
			"vmseal/imagetool/fsys",
			"vmseal/imagetool/kernel",
			"vmseal/imagetool/output",
			"vmseal/signer",
		},
		brings: slices.Concat(imageBrings, unpacking, unpackingBrings),
	},
	"vmseal/imagetool/seals": {
		imports: []string{
			"vmseal/formats/volume",
			"vmseal/imagetool",
			"vmseal/imagetool/block", // whose bytes are covered
			"vmseal/imagetool/disk",  // Volume
			"vmseal/imagetool/fsys",
		},
		brings: imageBrings,
	},
	"vmseal/imagetool/sign": {
		imports: []string{
			"vmseal/formats/ima",
			"vmseal/formats/manifest",
			"vmseal/formats/policy",
			"vmseal/formats/volume",
			"vmseal/imagetool",
			"vmseal/imagetool/archive",
			"vmseal/imagetool/archive/stream",
			"vmseal/imagetool/fsys",
			"vmseal/imagetool/hostfile",
			"vmseal/imagetool/output",
			"vmseal/imagetool/profile",
			"vmseal/imagetool/seals",
			"vmseal/keys/input",
			"vmseal/signer",
		},
		brings: slices.Concat(imageBrings, unpacking, unpackingBrings, []string{
			"vmseal/formats/profile",
			"vmseal/imagetool/kernel",
		}),
	},
	"vmseal/imagetool/verify": {
		imports: []string{
			"vmseal/formats/ima",
			"vmseal/formats/manifest",
			"vmseal/formats/volume",
			"vmseal/imagetool",
			"vmseal/imagetool/fsys",
			"vmseal/keys",
			"vmseal/keys/input",
			"vmseal/signer",
		},
		brings: slices.Concat(imageBrings, []string{"vmseal/formats/escape"}),
	},
	"vmseal/imagetool/cmd/imagetool": {
		imports: []string{
			"vmseal/formats/ima",
			"vmseal/formats/policy",
			"vmseal/formats/profile",
			"vmseal/formats/volume",
			"vmseal/imagetool",
			"vmseal/imagetool/archive",
			"vmseal/imagetool/archive/stream",
			"vmseal/imagetool/container",
			"vmseal/imagetool/diff",
			"vmseal/imagetool/disk",
			"vmseal/imagetool/fsys",
			"vmseal/imagetool/hostfile",
			"vmseal/imagetool/initrd",
			"vmseal/imagetool/inspect",
			"vmseal/imagetool/kernel",
			"vmseal/imagetool/output",
			"vmseal/imagetool/profile",
			"vmseal/imagetool/seals",
			"vmseal/imagetool/sign",
			"vmseal/imagetool/undo",
			"vmseal/imagetool/unpack",
			"vmseal/imagetool/verify",
			"vmseal/keys",
			"vmseal/keys/input",
			"vmseal/signer",
			"vmseal/signer/cli",
			"vmseal/signer/rules",
			"github.com/spf13/cobra",
			"github.com/spf13/pflag",
			"golang.org/x/sys/unix",
		},
	},
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{join .Imports " "}}:{{join .Deps " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		field := strings.Split(strings.TrimSpace(line), ":")
		name := short(field[0])
		want, ok := allowed[name]
		if !ok {
			t.Errorf("%s is not in the table", name)
		}
		seen[name] = true
		for _, path := range outside(field[1]) {
			if !slices.Contains(want.imports, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		for _, path := range outside(field[2]) {
			if want.brings != nil && !slices.Contains(want.imports, path) && !covered(want.brings, path) {
				t.Errorf("%s depends on %s", name, path)
			}
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("%s is in the table only", name)
		}
	}
}

// covered reports whether a path, or the tree that it is in, is in the list.
func covered(list []string, path string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		tree, ok := strings.CutSuffix(entry, "...")
		return entry == path || ok && strings.HasPrefix(path+"/", tree)
	})
}

func short(path string) string { return strings.TrimPrefix(path, "github.com/vmseal/") }

// outside picks the paths that are not of the standard library.
func outside(paths string) (list []string) {
	for _, path := range strings.Fields(paths) {
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
			list = append(list, short(path))
		}
	}
	return list
}
