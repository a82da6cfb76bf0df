package imagetool

import (
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/vmseal/vmseal/imagetool/disk"
	"github.com/vmseal/vmseal/signer"
)

func TestSparse(t *testing.T) {
	const size = 1 << 20
	tree := &Tree{systems: []*FileSystem{{Volume: disk.Volume{ID: "1", Size: size}}, {Volume: disk.Volume{ID: "2", Size: math.MaxInt64 / 4}}}}
	file := func(system int, path string, size int64) signer.File {
		return signer.File{Paths: []string{path}, Size: size, Ref: ref{system: system}}
	}
	const limit = 16*size + 1<<30
	files := []signer.File{
		file(0, "1:/a", limit-10), file(0, "1:/b", 10), file(0, "1:/skipped", math.MaxInt64),
		file(1, "2:/c", math.MaxInt64), file(1, "2:/d", math.MaxInt64),
	}
	if err := tree.checkSparse(files); err != nil {
		t.Errorf("without a bound: %v", err)
	}
	tree.Bound(func(paths []string) signer.Action {
		if paths[0] == "1:/skipped" {
			return signer.ActionSkip
		}
		return signer.ActionHash
	})
	if err := tree.checkSparse(files); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	files[1].Size++
	err := tree.checkSparse(files)
	want := SparseError{tree.systems[0].Volume, "1:/a", limit - 10, limit + 1, limit}
	if e, ok := errors.AsType[*SparseError](err); !ok || !reflect.DeepEqual(*e, want) {
		t.Errorf("beyond the bound: %v", err)
	}
	files[0].Size, files[1].Size = math.MaxInt64, math.MaxInt64
	if err := tree.checkSparse(files); err == nil {
		t.Error("sums of sizes overflow")
	}
}
