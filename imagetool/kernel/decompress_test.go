package kernel

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
)

// tool skips the test where an outside tool is missing, and fails it where every
// tool has to be there.
func tool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("VMSEAL_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
}

// How kbuild compresses (cmd_* in scripts/Makefile.lib and scripts/xz_wrap.sh).
// All but gzip get the size put behind.
var compressors = map[string][]string{
	"gzip":   {"gzip", "-n", "-f", "-9"},
	"bzip2":  {"bzip2", "-9"},
	"lzma":   {"lzma", "-9"},
	"xz":     {"xz", "--check=crc32", "--x86", "--lzma2=,dict=32MiB"},
	"xz-6.5": {"xz", "--check=crc32", "--x86", "--lzma2=,dict=128MiB"},
	"lz4":    {"lz4", "-l", "-9", "-", "-"},
	"zstd":   {"zstd", "-19"},
	"zstd22": {"zstd", "-22", "--ultra"},
}

func compress(t testing.TB, command string, data []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(command, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return out
}

func withSize(payload []byte, size int) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(payload), uint32(size))
}

// TestCompressed packs a kernel with the tools that kbuild takes.
func TestCompressed(t *testing.T) {
	elf := fakeELF(t, newFake())
	want, err := Profile(elf, Options{})
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("/proc/self/exe") // has jumps for the filter of xz to work on
	if err != nil {
		t.Fatal(err)
	}
	code = code[1<<20:][:1<<20]
	for name, command := range compressors {
		t.Run(name, func(t *testing.T) {
			tool(t, command[0])
			pack := func(data []byte) []byte {
				packed := compress(t, command[0], data, command[1:]...)
				if name == "gzip" {
					return packed
				}
				return withSize(packed, len(data))
			}
			file := fakekernel.BzImage(pack(elf))
			sum := sha256.Sum256(file)
			want.Kernel = sum[:] // of the file as it is
			got, err := Profile(file, Options{})
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v", got, err)
			}
			packed := pack(code)
			if b, err := decompress(packed); err != nil || !bytes.Equal(b, code) {
				t.Errorf("%d of %d bytes, %v", len(b), len(code), err)
			}
			testPromises(t, packed, len(code))
		})
	}
}

// testPromises: what is not as long as it says, or does not end, is no kernel.
func testPromises(t *testing.T, packed []byte, size int) {
	for _, wrong := range []int{0, size - 1, size + 1, MaxSize} {
		spoilt := withSize(packed[:len(packed)-4], wrong)
		if _, err := decompress(spoilt); err == nil {
			t.Errorf("accepted %d bytes as %d", size, wrong)
		}
	}
	for _, n := range []int{16, len(packed) / 2, len(packed) - 16} {
		if _, err := decompress(withSize(packed[:n], size)); err == nil {
			t.Errorf("accepted cut to %d of %d bytes", n, len(packed))
		}
	}
	if _, err := decompress(withSize(packed[:len(packed)-4], MaxSize+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("of more than MaxSize bytes: %v", err)
	}
}

// TestBomb: a payload that grows beyond what it promises is not unpacked further.
func TestBomb(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := b.Bytes()
	binary.LittleEndian.PutUint32(bomb[len(bomb)-4:], 1000)
	if out, err := decompress(bomb); err == nil {
		t.Errorf("%d bytes", len(out))
	}
}

func TestUnknownCompression(t *testing.T) {
	for _, payload := range []string{"", "\x1f", "\x89LZO\x00\r\n\x1a\n1234", "hello", elfMagic, "\x1f\x8b\x08", "BZh"} {
		if _, err := Profile(fakekernel.BzImage([]byte(payload)), Options{}); !errors.Is(err, ErrCompression) {
			t.Errorf("%q: %v", payload, err)
		}
	}
}

func TestHeader(t *testing.T) {
	good := fakekernel.BzImage(make([]byte, 100))
	if p, err := payload(good); err != nil || len(p) != 100 {
		t.Fatalf("%d bytes, %v", len(p), err)
	}
	for name, change := range map[string]func([]byte){
		"old protocol":  func(b []byte) { binary.LittleEndian.PutUint16(b[hdrVersion:], 0x0207) },
		"length":        func(b []byte) { binary.LittleEndian.PutUint32(b[hdrPayloadLength:], 1<<20) },
		"largest":       func(b []byte) { binary.LittleEndian.PutUint32(b[hdrPayloadLength:], 1<<32-1) },
		"offset":        func(b []byte) { binary.LittleEndian.PutUint32(b[hdrPayloadOffset:], 1<<32-1) },
		"setup sectors": func(b []byte) { b[hdrSetupSects] = 255 },
	} {
		b := bytes.Clone(good)
		change(b)
		if _, err := payload(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// No setup sectors stand for four.
	four := bytes.Clone(good)
	four[hdrSetupSects] = 0
	binary.LittleEndian.PutUint32(four[hdrPayloadOffset:], 0x0c0)
	if p, err := payload(four); err != nil || len(p) != 100 || &four[(3+1)*sectorSize+0x2c0] != &p[0] {
		t.Errorf("%d bytes, %v", len(p), err)
	}
}

func TestRecognize(t *testing.T) {
	for name, c := range map[string]struct {
		head []byte
		want bool
	}{
		"bzImage":  {fakekernel.BzImage(nil)[:HeadSize], true},
		"ELF":      {[]byte(elfMagic), true},
		"short":    {fakekernel.BzImage(nil)[:HeadSize-1], false},
		"empty":    {nil, false},
		"zeros":    {make([]byte, HeadSize), false},
		"GPT disk": {append(make([]byte, 512), "EFI PART"+strings.Repeat("\x00", 512)...), false},
	} {
		if got := Recognize(c.head); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	data := bytes.Repeat([]byte("a kernel \xe8\x00\x00\x00\x00"), 50)
	for name, command := range compressors {
		if _, err := exec.LookPath(command[0]); err != nil {
			continue
		}
		packed := compress(f, command[0], data, command[1:]...)
		if name != "gzip" {
			packed = withSize(packed, len(data))
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) >= 4 { // the fuzzer need not wait for large ones
			at := len(payload) - 4
			payload = withSize(payload[:at], int(binary.LittleEndian.Uint32(payload[at:])%(1<<20)))
		}
		b, err := decompress(payload)
		if err == nil && len(b) != int(binary.LittleEndian.Uint32(payload[len(payload)-4:])) {
			t.Errorf("%d bytes", len(b))
		}
	})
}
