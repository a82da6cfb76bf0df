package profile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/digsig"
	"github.com/vmseal/vmseal/formats/ima"
)

// sample is a profile in which every field has a value of its own.
func sample() *Profile {
	hooks := map[string]Hook{}
	for i, name := range HookNames {
		hooks[name] = Hook{0xffffffff81000100 + 64*uint64(i), Bytes{0x0f, 0x1f, 0x44, 0, 0}, "void hook(void)"}
	}
	return &Profile{
		Release: "6.1.0-56-amd64",
		BuildID: "eb4fbcd037e7",
		Banner:  "Linux version 6.1.0-56-amd64 (a@b) <c> & \"d\"\n",
		Kernel:  Bytes{0xaa, 0xbb},
		Initrd:  Bytes{0xcc, 0xdd},
		Text:    0xffffffff81000000,
		TextEnd: 0xffffffff81e00000,
		Hooks:   hooks,
		Hold:    Hold{0xffffffff83000f05, Bytes{1, 2, 3, 4, 5, 6, 7, 8}},
		Variables: Variables{
			0xffffffff82000000, 0xffffffff83000000, 0xffffffff83000004, 0xffffffff83000008, 0xffffffff8300000c, 0xffffffff83000010, 0xffffffff83000014,
			0xffffffff83000018, 0xffffffff8300001c, 0xffffffff83000020, 0x313c0,
		},
		Offsets: Offsets{32, 40, 16, 88, 48, 56, 24, 12, 104, 120, 64, 72},
		Values: Values{
			Funcs: map[string]uint32{
				FuncFile: 1, "MMAP_CHECK": 2, FuncBprm: 3, "MODULE_CHECK": 6, "FIRMWARE_CHECK": 7,
				"KEXEC_KERNEL_CHECK": 8, "KEXEC_INITRAMFS_CHECK": 9, "POLICY_CHECK": 10, "KEY_CHECK": 12,
			},
			IntegrityPass: 0, IntegrityFail: 2, SystemRunning: 3, LockIntegrity: 21, CPUMask: 1024, AreaArgument: 1, DigsigAlgo: true,
		},
		Build: json.RawMessage(`{"keeps_policy":false,"CONFIG_X86_KERNEL_IBT":true}`),
		Code: []Function{
			{"ima_file_mmap", 0xffffffff81000800, 144, []Span{{4, 5}, {60, 1}}},
			{"ima_file_mmap.cold", 0xffffffff81000900, 16, []Span{}},
		},
		Policy: []string{"appraise func=BPRM_CHECK uid<1000 appraise_type=imasig", "measure\tfunc=MMAP_CHECK"},
	}
}

var signerID = ima.KeyID{1, 2, 3, 4}

// The signature in these tests is the digest itself: what real ones are worth is
// for package keys to say.
func seal(t testing.TB, text []byte) []byte { return sealAs(t, text, signerID, Digest(text)) }

func sealAs(t testing.TB, text []byte, id ima.KeyID, sig []byte) []byte {
	t.Helper()
	value, err := ima.SignatureV2(ima.SHA256, id, sig).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "%ssignature %x\n", text, value)
}

var errForeign = errors.New("foreign or altered")

func verify(s digsig.Signature, digest []byte) error {
	if s.KeyID != signerID || !bytes.Equal(s.Bytes, digest) {
		return errForeign
	}
	return nil
}

func marshal(t testing.TB, p *Profile) []byte {
	t.Helper()
	text, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	file := seal(t, marshal(t, want))
	got, err := Open(file, verify)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if again := seal(t, marshal(t, got)); !bytes.Equal(again, file) {
		t.Errorf("written again: %s", again)
	}
}

// TestText holds the format to what its description says, by its bytes.
func TestText(t *testing.T) {
	lines := strings.SplitAfter(string(seal(t, marshal(t, sample()))), "\n")
	if len(lines) != 4 || lines[0] != "vmseal-profile 7\n" || lines[3] != "" {
		t.Fatalf("%q", lines)
	}
	for _, part := range []string{
		`{"release":"6.1.0-56-amd64","build_id":"eb4fbcd037e7","banner":"Linux version `,
		`","kernel":"aabb","initrd":"ccdd","text":18446744071578845184,"text_end":18446744071593525248`,
		`"hooks":{"blkdev_mmap":{"address":18446744071578845440,"bytes":"0f1f440000","prototype":"void hook(void)"},"idle_thread_get":{`,
		`}},"hold":{"address":18446744071612403461,"code":"0102030405060708"},"variables":{"linux_banner":18446744071595622400,"ima_appraise":`,
		`"rootfs_fs_type":18446744071612399632,"kernel_locked_down":18446744071612399636,"ima_rules":18446744071612399640,"phys_base":18446744071612399644,"__cpu_possible_mask":18446744071612399648,"xen_vcpu_info":201664},"offsets":{`,
		`"offsets":{"file.f_inode":32,"inode.i_sb":40,"super_block.s_dev":16,"super_block.s_iflags":88,"super_block.s_type":48,"super_block.s_bdev":56,"block_device.bd_disk":24,"gendisk.disk_name":12,"gendisk.state":104,"gendisk.diskseq":120,"linux_binprm.file":64,"blkdev_mmap.vm_flags":72}`,
		`"values":{"ima_hooks":{"BPRM_CHECK":3,"FILE_CHECK":1,`,
		`"INTEGRITY_PASS":0,"INTEGRITY_FAIL":2,"SYSTEM_RUNNING":3,"LOCKDOWN_INTEGRITY_MAX":21,"struct cpumask":1024,"blkdev_mmap area":1,"integrity_digsig_verify algo":true},"build":{"keeps_policy":false,"CONFIG_X86_KERNEL_IBT":true},"code":[{"name":"ima_file_mmap","address":18446744071578847232,"size":144,"patched":[{"at":4,"size":5},{"at":60,"size":1}]},{"name":"ima_file_mmap.cold","address":18446744071578847488,"size":16,"patched":[]}],"policy":["appraise func=BPRM_CHECK uid\u003c1000 appraise_type=imasig","measure\tfunc=MMAP_CHECK"]}` + "\n",
	} {
		if !strings.Contains(lines[1], part) {
			t.Errorf("%s\nhas no %s", lines[1], part)
		}
	}
	sum := Digest([]byte(lines[0] + lines[1]))
	if want := "signature 03020401020304" + "0020" + hex.EncodeToString(sum) + "\n"; lines[2] != want {
		t.Errorf("%q, want %q", lines[2], want)
	}
}

// TestDigest: the digest of "abc" is that of FIPS 180-4's SHA-512/256, and never
// the one that a file with the same contents is signed by.
func TestDigest(t *testing.T) {
	abc := "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
	if got := hex.EncodeToString(Digest([]byte("abc"))); got != abc {
		t.Errorf("%s, want %s", got, abc)
	}
	text := marshal(t, sample())
	sum := sha256.Sum256(text)
	file := sealAs(t, text, signerID, sum[:])
	if _, err := Open(file, verify); !errors.Is(err, errForeign) {
		t.Errorf("signed like a file: %v", err)
	}
}

func TestUntrusted(t *testing.T) {
	text := marshal(t, sample())
	file := seal(t, text)
	foreign := sealAs(t, text, ima.KeyID{9, 9, 9, 9}, Digest(text))
	other := sample()
	other.Offsets.FileInode++
	otherText := marshal(t, other)
	for name, file := range map[string][]byte{
		"of a foreign key":    foreign,
		"with another offset": bytes.Replace(file, []byte(`"file.f_inode":32`), []byte(`"file.f_inode":40`), 1),
		"of another profile":  append(bytes.Clone(otherText), file[len(text):]...),
		"with a space more":   bytes.Replace(file, []byte("{"), []byte(" {"), 1),
		"with a line more":    bytes.Replace(file, []byte("\n"), []byte("\n\n"), 1),
	} {
		if p, err := Open(file, verify); err == nil || p != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Each bit counts, wherever it is.
	for i := range file {
		for bit := range 8 {
			file[i] ^= 1 << bit
			if _, err := Open(file, verify); err == nil {
				t.Errorf("accepted with bit %d of byte %d (%q) changed", bit, i, file[i])
			}
			file[i] ^= 1 << bit
		}
	}
	for n := range file {
		if _, err := Open(file[:n], verify); err == nil {
			t.Errorf("accepted cut to %d bytes", n)
		}
	}
}

// TestUnsigned: before the signature is verified, nothing but its line is looked at.
func TestUnsigned(t *testing.T) {
	text := string(marshal(t, sample()))
	v1 := "030100000000000001020304050607080100080a"
	verity, err := ima.Value{Type: ima.VeritySignature, Version: 3, Hash: ima.SHA256, KeyID: signerID, Signature: Digest([]byte(text))}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	sha512, err := ima.SignatureV2(ima.SHA512, signerID, Digest([]byte(text))).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := ima.DigestValue(ima.SHA256, Digest([]byte(text))).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"empty":               "",
		"another format":      "vmseal-profile 1" + text[len("vmseal-profile 7"):],
		"no signature":        text,
		"empty line":          text + "\n",
		"empty signature":     text + "signature \n",
		"no line end":         strings.TrimSuffix(string(seal(t, []byte(text))), "\n"),
		"upper case":          text + "signature " + strings.ToUpper(hex.EncodeToString(sha512)) + "\n",
		"not hexadecimal":     text + "signature xx\n",
		"bytes behind it":     strings.TrimSuffix(string(seal(t, []byte(text))), "\n") + "00\n",
		"version 1":           text + "signature " + v1 + "\n",
		"version 3":           text + "signature " + hex.EncodeToString(verity) + "\n",
		"sha512":              text + "signature " + hex.EncodeToString(sha512) + "\n",
		"digest":              text + "signature " + hex.EncodeToString(digest) + "\n",
		"larger than MaxSize": text + strings.Repeat(" ", MaxSize) + string(seal(t, []byte(text))[len(text):]),
	} {
		called := false
		_, err := Open([]byte(file), func(digsig.Signature, []byte) error { called = true; return nil })
		if err == nil || called {
			t.Errorf("%s: error %v, verified: %v", name, err, called)
		}
	}
}

// TestForm: what is signed, but not what Marshal writes.
func TestForm(t *testing.T) {
	text := string(marshal(t, sample()))
	replace := func(old, new string) string {
		if strings.Count(text, old) == 0 {
			t.Fatalf("%s has no %s", text, old)
		}
		return strings.Replace(text, old, new, 1)
	}
	for name, changed := range map[string]string{
		"additional field":  replace(`{"release"`, `{"extra":1,"release"`),
		"field twice":       replace(`{"release"`, `{"release":"x","release"`),
		"other order":       replace(`"file.f_inode":32,"inode.i_sb":40`, `"inode.i_sb":40,"file.f_inode":32`),
		"other case":        replace(`"release"`, `"Release"`),
		"missing field":     replace(`"file.f_inode":32,`, ``),
		"space":             replace(`{"release"`, `{ "release"`),
		"two values":        replace("}\n", "}{}\n"),
		"no line end":       strings.TrimSuffix(text, "\n") + " ",
		"two line ends":     text + "\n",
		"upper-case bytes":  replace("0f1f440000", "0F1F440000"),
		"odd bytes":         replace("0f1f440000", "0f1f44000"),
		"number too large":  replace(`"file.f_inode":32`, `"file.f_inode":4294967296`),
		"negative number":   replace(`"file.f_inode":32`, `"file.f_inode":-1`),
		"fraction":          replace(`"file.f_inode":32`, `"file.f_inode":32.0`),
		"other escape":      replace(`\u003c`, `<`),
		"null":              replace(`"values":{`, `"values":null,"x":{`),
		"no JSON":           "vmseal-profile 7\nhello\n",
		"nothing":           "vmseal-profile 7\n",
		"header twice":      "vmseal-profile 7\n" + text,
		"signature in text": text + "signature 00\n",
	} {
		if p, err := Open(seal(t, []byte(changed)), verify); err == nil || p != nil {
			t.Errorf("%s: accepted", name)
		} else if errors.Is(err, errForeign) {
			t.Errorf("%s: %v, before its form was looked at", name, err)
		}
	}
}

// TestCheck: what is signed, and written well, but would mislead who relies on it.
func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*Profile){
		"no banner":    func(p *Profile) { p.Banner = "" },
		"no hooks":     func(p *Profile) { p.Hooks = nil },
		"hook missing": func(p *Profile) { delete(p.Hooks, "security_bprm_check") },
		"another hook": func(p *Profile) { p.Hooks["ima_file_check"] = p.Hooks["security_bprm_check"] },
		"another instead": func(p *Profile) {
			p.Hooks["x"] = p.Hooks["security_bprm_check"]
			delete(p.Hooks, "security_bprm_check")
		},
		"hook without bytes": func(p *Profile) { p.Hooks["blkdev_mmap"] = Hook{Address: 1} },
		"hook with more":     func(p *Profile) { p.Hooks["blkdev_mmap"] = Hook{1, make(Bytes, HookSize+1), "f"} },
		"hold with less":     func(p *Profile) { p.Hold.Code = p.Hold.Code[1:] },
		"hold with more":     func(p *Profile) { p.Hold.Code = append(p.Hold.Code, 0) },
		"function too large": func(p *Profile) { p.Code[0].Size = 1<<16 + 1 },
		"span outside":       func(p *Profile) { p.Code[0].Patched[1].At = 144 },
		"endless span":       func(p *Profile) { p.Code[0].Patched[1] = Span{1<<32 - 1, 1<<32 - 1} },
		"a third argument":   func(p *Profile) { p.Values.AreaArgument = 2 },
		"no policy":          func(p *Profile) { p.Policy = nil },
		"no rules":           func(p *Profile) { p.Policy = []string{} },
		"empty rule":         func(p *Profile) { p.Policy[1] = "" },
		"long rule":          func(p *Profile) { p.Policy[0] = strings.Repeat("x", MaxRule) },
		"rules in one":       func(p *Profile) { p.Policy[0] = "hash\nhash" },
		"rule with a NUL":    func(p *Profile) { p.Policy[0] += "\x00" },
	} {
		p := sample()
		change(p)
		if p, err := Open(seal(t, marshal(t, p)), verify); err == nil || p != nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestOtherFormat: who has a profile of another format is told what to do.
func TestOtherFormat(t *testing.T) {
	file := seal(t, marshal(t, sample()))
	for name, tt := range map[string]struct{ header, says string }{
		"format 6":  {"vmseal-profile 6", "another format than 7: a new one has to be made"},
		"format 8":  {"vmseal-profile 8", "another format than 7: a new one has to be made"},
		"something": {"vmseal-manifest 2", "not a profile"},
	} {
		_, err := Open(append([]byte(tt.header), file[len("vmseal-profile 7"):]...), verify)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
}

func FuzzOpen(f *testing.F) {
	file := seal(f, marshal(f, sample()))
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add([]byte("vmseal-profile 7\n{}\nsignature 030204010203040001ff\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		// Whatever is signed: what is opened is what would be written.
		p, err := Open(file, func(digsig.Signature, []byte) error { return nil })
		if err != nil {
			if p != nil {
				t.Errorf("a profile, and the error %v", err)
			}
			return
		}
		text, err := p.Marshal()
		if err != nil || !bytes.HasPrefix(file, text) {
			t.Errorf("opened %q, would write %q, %v", file, text, err)
		}
	})
}
