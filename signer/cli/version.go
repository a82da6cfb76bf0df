package cli

import "runtime/debug"

// version is set by the linker in a release:
//
//	go build -ldflags '-X github.com/vmseal/vmseal/signer/cli.version=v1.0.0'
var version string

// Version names the build: what the linker was told, else what the go command
// knows of the module and the commit.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value
		}
	}
	return "devel"
}
