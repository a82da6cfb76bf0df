package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/vmseal/vmseal/formats/manifest"
	"github.com/vmseal/vmseal/formats/profile"
)

// version and commit are set by the linker in a release (scripts/release):
//
//	go build -ldflags '-X github.com/vmseal/vmseal/signer/cli.version=0.1.0 -X github.com/vmseal/vmseal/signer/cli.commit=...'
var version, commit string

// Version names the build: what the linker was told, else what the go command knows of the
// module and the commit. A release and 'go install' of its tag give the same: 0.1.0.
func Version() string { return build().version }

// A buildInfo says what a program was made from.
type buildInfo struct{ version, commit, compiler string }

func build() buildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return made(info)
}

func made(info *debug.BuildInfo) buildInfo {
	stamped := ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			stamped = s.Value
		}
	}
	module := strings.TrimPrefix(info.Main.Version, "v")
	if module == "(devel)" {
		module = ""
	}
	fallback := "devel"
	if stamped != "" {
		fallback += "-" + stamped
	}
	return buildInfo{cmp.Or(version, module, fallback), cmp.Or(commit, stamped), cmp.Or(info.GoVersion, runtime.Version())}
}

// versionLine is what --version prints after the name of the program.
func versionLine() string {
	b := build()
	return fmt.Sprintf("%s, commit %s, %s, formats: manifest %d, profile %s", b.version, cmp.Or(b.commit, "unknown"), b.compiler,
		manifest.Format, profile.Format)
}
