package kernel

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/profile"
)

// TestCheck changes one thing at a time in a profile that is as it should be.
func TestCheck(t *testing.T) {
	hook := func(change func(*profile.Profile, *profile.Hook)) func(*profile.Profile) {
		return func(p *profile.Profile) {
			h := p.Hooks["ima_update_policy"]
			change(p, &h)
			p.Hooks["ima_update_policy"] = h
		}
	}
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
		"no hooks":            func(p *profile.Profile) { p.Hooks = nil },
		"hook missing":        func(p *profile.Profile) { delete(p.Hooks, "ima_update_policy") },
		"hook before text":    hook(func(p *profile.Profile, h *profile.Hook) { h.Address = p.Text - 1 }),
		"hook behind text":    hook(func(p *profile.Profile, h *profile.Hook) { h.Address = p.TextEnd - 4 }),
		"hook at the end":     hook(func(p *profile.Profile, h *profile.Hook) { p.TextEnd, h.Address = 1<<64-1, 1<<64-2 }),
		"hook without bytes":  hook(func(p *profile.Profile, h *profile.Hook) { h.Bytes = nil }),
		"hook untyped":        hook(func(p *profile.Profile, h *profile.Hook) { h.Prototype = "" }),
		"hooks at one place":  hook(func(p *profile.Profile, h *profile.Hook) { h.Address = p.Hooks["security_bprm_check"].Address }),
		"hooks overlap":       hook(func(p *profile.Profile, h *profile.Hook) { h.Address = p.Hooks["security_bprm_check"].Address + 4 }),
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
		"no set of CPUs":      func(p *profile.Profile) { p.Values.CPUMask = 0 },
		"set of many CPUs":    func(p *profile.Profile) { p.Values.CPUMask = 1<<13 + 8 },
		"no lockdown":         func(p *profile.Profile) { p.Variables.LockedDown = 0 },
		"no level":            func(p *profile.Profile) { p.Values.LockIntegrity = 0 },
		"level too high":      func(p *profile.Profile) { p.Values.LockIntegrity = 1<<10 + 1 },
		"lockdown elsewhere":  func(p *profile.Profile) { p.Variables.LockedDown = 1 },
		"no code":             func(p *profile.Profile) { p.Code = nil },
		"function not there":  func(p *profile.Profile) { p.Code = slices.Delete(p.Code, 6, 7) },
		"function before":     func(p *profile.Profile) { p.Code[0].Address = p.Text - 1 },
		"function behind":     func(p *profile.Profile) { p.Code[len(p.Code)-1].Size++ },
		"function at the end": func(p *profile.Profile) { p.Code[len(p.Code)-1].Address = p.TextEnd },
		"function is empty":   func(p *profile.Profile) { p.Code[0].Size = 0 },
		"function is large":   func(p *profile.Profile) { p.TextEnd += 1 << 20; p.Code[len(p.Code)-1].Size = 1<<16 + 1 },
		"functions in turn":   func(p *profile.Profile) { p.Code[0], p.Code[1] = p.Code[1], p.Code[0] },
		"functions overlap":   func(p *profile.Profile) { p.Code[0].Size++ },
		"name not UTF-8":      func(p *profile.Profile) { p.Code[0].Name = "ima_\xff" },
		"many functions":      func(p *profile.Profile) { manyFunctions(p, 1<<12+1, 1) },
		"much code":           func(p *profile.Profile) { manyFunctions(p, 17, 1<<16) },
		"span is empty":       func(p *profile.Profile) { p.Code[0].Patched[0].Size = 0 },
		"span reaches out":    func(p *profile.Profile) { p.Code[0].Patched[0].At = 60 },
		"spans overlap":       func(p *profile.Profile) { p.Code[0].Patched = []profile.Span{{At: 0, Size: 5}, {At: 4, Size: 5}} },
		"endless span":        func(p *profile.Profile) { p.Code[0].Patched[0].Size = 1<<32 - 1 },
		"running from boot":   func(p *profile.Profile) { p.Values.SystemRunning = 0 },
	} {
		p, err := Profile(fakeELF(t, newFake()), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if change(p); check(p) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// manyFunctions adds functions behind those of a profile.
func manyFunctions(p *profile.Profile, n int, size uint32) {
	at := p.TextEnd
	for range n {
		p.Code = append(p.Code, profile.Function{Name: "ima_x", Address: at, Size: size})
		at += uint64(size)
	}
	p.TextEnd = at
}
