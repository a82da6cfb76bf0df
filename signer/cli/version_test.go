package cli

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	stamp := func(module string, settings ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{GoVersion: "go1.99", Main: debug.Module{Version: module}}
		for _, revision := range settings {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: "vcs.revision", Value: revision})
		}
		return info
	}
	for _, tt := range []struct {
		name            string
		version, commit string // of the linker
		info            *debug.BuildInfo
		want            buildInfo
	}{
		{"release", "0.1.0", "abc", stamp("(devel)"), buildInfo{"0.1.0", "abc", "go1.99"}},
		{"go install of a tag", "", "", stamp("v0.1.0"), buildInfo{"0.1.0", "", "go1.99"}},
		{"go build in a repository", "", "", stamp("v0.1.1-0.20260101000000-0123456789ab+dirty", "0123456789abcdef"),
			buildInfo{"0.1.1-0.20260101000000-0123456789ab+dirty", "0123456789abcdef", "go1.99"}},
		{"no version", "", "", stamp("(devel)", "0123"), buildInfo{"devel-0123", "0123", "go1.99"}},
		{"no stamps", "", "", stamp("(devel)"), buildInfo{"devel", "", "go1.99"}},
	} {
		version, commit = tt.version, tt.commit
		if got := made(tt.info); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	version, commit = "", ""
	if got := made(&debug.BuildInfo{}); got.version != "devel" || !strings.HasPrefix(got.compiler, "go") {
		t.Errorf("without build info: %+v", got)
	}
	for _, want := range []string{"devel, commit ", ", go", "formats: manifest 1, profile "} {
		if got := versionLine(); !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}
