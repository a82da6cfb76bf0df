package kernel

import (
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/profile"
)

// TestCheck changes one thing at a time in a profile that is as it should be.
func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*profile.Profile){
		"no release":          func(p *profile.Profile) { p.Release = "" },
		"long release":        func(p *profile.Profile) { p.Release = strings.Repeat("6", 129) },
		"release not UTF-8":   func(p *profile.Profile) { p.Release = "6\xff" },
		"no build id":         func(p *profile.Profile) { p.BuildID = "" },
		"odd build id":        func(p *profile.Profile) { p.BuildID = "abc" },
		"build id not hex":    func(p *profile.Profile) { p.BuildID = "zz" },
		"upper-case build id": func(p *profile.Profile) { p.BuildID = "AB" },
		"long build id":       func(p *profile.Profile) { p.BuildID = strings.Repeat("ab", 65) },
		"no banner":           func(p *profile.Profile) { p.Banner = "" },
		"long banner":         func(p *profile.Profile) { p.Banner = strings.Repeat("x", 513) },
		"banner not UTF-8":    func(p *profile.Profile) { p.Banner = "Linux\xff\n" },
		"text in user space":  func(p *profile.Profile) { p.Text = 0x400000 },
		"text ends early":     func(p *profile.Profile) { p.TextEnd = p.Text },
		"hook before text":    func(p *profile.Profile) { p.Hooks.BprmCheck.Address = p.Text - 1 },
		"hook behind text":    func(p *profile.Profile) { p.Hooks.UpdatePolicy.Address = p.TextEnd - 4 },
		"hook at the end":     func(p *profile.Profile) { p.TextEnd, p.Hooks.UpdatePolicy.Address = 1<<64-1, 1<<64-2 },
		"hook without bytes":  func(p *profile.Profile) { p.Hooks.DigsigVerify.Bytes = nil },
		"hook untyped":        func(p *profile.Profile) { p.Hooks.ParseAddRule.Prototype = "" },
		"hooks at one place":  func(p *profile.Profile) { p.Hooks.ParseAddRule.Address = p.Hooks.UpdatePolicy.Address },
		"hooks overlap":       func(p *profile.Profile) { p.Hooks.ParseAddRule.Address = p.Hooks.UpdatePolicy.Address + 4 },
		"variable nowhere":    func(p *profile.Profile) { p.Variables.Appraise = 0 },
		"variable at the end": func(p *profile.Profile) { p.Variables.Banner = 1<<64 - 1 },
		"hold before text":    func(p *profile.Profile) { p.Hold.Address = p.Text - 1 },
		"hold at the end":     func(p *profile.Profile) { p.Hold.Address = 1<<64 - profile.HoldSize },
		"hold with less":      func(p *profile.Profile) { p.Hold.Code = p.Hold.Code[1:] },
		"hold with more":      func(p *profile.Profile) { p.Hold.Code = append(p.Hold.Code, 0) },
		"per-CPU nowhere":     func(p *profile.Profile) { p.Variables.XenVCPUInfo = maxPerCPU },
		"per-CPU before text": func(p *profile.Profile) { p.Variables.XenVCPUInfo = p.Text - 1 },
		"offset":              func(p *profile.Profile) { p.Offsets.SBDev = 1<<16 + 1 },
		"no functions":        func(p *profile.Profile) { p.Values.Funcs = nil },
		"function missing":    func(p *profile.Profile) { delete(p.Values.Funcs, "MMAP_CHECK") },
		"functions the same":  func(p *profile.Profile) { p.Values.Funcs["MMAP_CHECK"] = p.Values.Funcs["BPRM_CHECK"] },
		"function not UTF-8":  func(p *profile.Profile) { p.Values.Funcs["\xff"] = 99 },
		"pass is fail":        func(p *profile.Profile) { p.Values.IntegrityPass = p.Values.IntegrityFail },
		"running from boot":   func(p *profile.Profile) { p.Values.SystemRunning = 0 },
	} {
		p, err := Profile(fakeELF(t, newFake()))
		if err != nil {
			t.Fatal(err)
		}
		if change(p); check(p) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
