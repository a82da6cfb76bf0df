package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/imagetool/internal/fakekernel"
)

func keepAll(byte, []byte) bool { return true }

func sameSymbols(got []symbol, want []fakekernel.Symbol) bool {
	return slices.EqualFunc(got, want, func(a symbol, b fakekernel.Symbol) bool {
		return a.addr == b.Addr && a.kind == b.Kind && a.name == b.Name
	})
}

// checkSizes: a symbol reaches up to the next one that lies elsewhere.
func checkSizes(t *testing.T, list []symbol) {
	t.Helper()
	for i, s := range list {
		next := slices.IndexFunc(list[i:], func(other symbol) bool { return other.addr > s.addr })
		if next < 0 && s.size != 0 || next >= 0 && s.size != list[i+next].addr-s.addr {
			t.Fatalf("%+v, of %d, has another size", s, len(list))
		}
	}
}

// randomSymbols are sorted, with names of one to 300 characters.
func randomSymbols(n int, percpu bool, seed uint64) []fakekernel.Symbol {
	r := rand.New(rand.NewPCG(seed, 1))
	list := make([]fakekernel.Symbol, n)
	list[0], list[1] = fakekernel.Symbol{Addr: fakekernel.Text, Kind: 'T', Name: "_text"}, fakekernel.Symbol{Addr: fakekernel.Rodata, Kind: 'R', Name: "linux_banner"}
	at := uint64(fakekernel.Text)
	for i := 2; i < n; i++ {
		name := fmt.Sprintf("symbol_%d.%s", i, strings.Repeat("xy_", r.IntN(100)))
		list[i] = fakekernel.Symbol{Addr: at, Kind: "TtDdBbRr"[r.IntN(8)], Name: name[:1+r.IntN(len(name))]}
		at += r.Uint64N(100)
	}
	if percpu {
		list = append(list, fakekernel.Symbol{Addr: 0, Kind: 'A', Name: "fixed_percpu_data"}, fakekernel.Symbol{Addr: 0x1000, Kind: 'A', Name: "cpu_number"})
	}
	return list
}

// inRodata puts tables of symbols behind the banner and something else.
func inRodata(l fakekernel.Layout, symbols []fakekernel.Symbol, before string) []byte {
	b := append([]byte(fakekernel.Banner("6.1.0")), 0)
	b = append(b, make([]byte, -len(b)&7)...)
	b = append(b, before...)
	return append(b, l.Encode(symbols, fakekernel.Rodata+uint64(len(b)))...)
}

func decode(b []byte) ([]symbol, error) { return kallsyms(b, fakekernel.Rodata, keepAll) }

func TestKallsyms(t *testing.T) {
	for name, l := range fakekernel.Layouts {
		for _, n := range []int{minSymbols, 2047, 2048, 2049, 5000} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				want := randomSymbols(n, l.PerCPU, uint64(n))
				fakekernel.Sort(want)
				// What lies around them: nothing, zeros, ones, and what looks like the tables.
				for _, around := range []string{"", strings.Repeat("\x00", 4096), strings.Repeat("\x01\x00\x00\x00\x00\x00\x00\x00", 512)} {
					got, err := decode(append(inRodata(l, want, around), around...))
					if err != nil || !sameSymbols(got, want) {
						t.Fatalf("%d symbols, %v; want %d", len(got), err, len(want))
					}
					checkSizes(t, got)
				}
			})
		}
	}
}

func TestKallsymsKeep(t *testing.T) {
	tables := inRodata(fakekernel.Layouts["6.4"], randomSymbols(minSymbols, true, 1), "")
	got, err := kallsyms(tables, fakekernel.Rodata, func(kind byte, name []byte) bool { return string(name) == "cpu_number" && kind == 'A' })
	if want := []fakekernel.Symbol{{Addr: 0x1000, Kind: 'A', Name: "cpu_number"}}; err != nil || !sameSymbols(got, want) {
		t.Fatalf("%v, %v", got, err)
	}
	// Its size is known from a symbol that was not kept.
	if want := uint64(fakekernel.Text - 0x1000); got[0].size != want {
		t.Errorf("%d bytes, want %d", got[0].size, want)
	}
}

// TestKallsymsDamaged: what is cut or changed is either found to be no table, or
// has other symbols; but never is there a panic, or an endless search.
func TestKallsymsDamaged(t *testing.T) {
	for name, l := range fakekernel.Layouts {
		tables := inRodata(l, randomSymbols(minSymbols, l.PerCPU, 1), "")
		for n := 0; n < len(tables)-alignInt(l.Seqs*(minSymbols+2), maxAlign); n += 1511 {
			if _, err := decode(tables[:n]); !errors.Is(err, ErrNoKallsyms) {
				t.Fatalf("%s, cut to %d of %d bytes: %v", name, n, len(tables), err)
			}
		}
		for i := 0; i < len(tables); i += 1009 {
			tables[i] ^= 0xff
			decode(tables)
			tables[i] ^= 0xff
		}
	}
	if _, err := decode(nil); !errors.Is(err, ErrNoKallsyms) {
		t.Error(err)
	}
}

// TestKallsymsBounded: in front of a table that fits nowhere, each eight bytes are a
// number of symbols and a name in one. To walk from each of them to the end would
// take days.
func TestKallsymsBounded(t *testing.T) {
	tables := fakekernel.Layouts["6.4"].Encode(randomSymbols(minSymbols, true, 1), 0)
	tables[0] ^= 1 // the number of symbols
	filler := bytes.Repeat([]byte{7, 0xff, 0x3f, 0, 0, 0, 0, 0}, 4<<20)
	if _, err := decode(append(filler, tables...)); !errors.Is(err, ErrNoKallsyms) {
		t.Error(err)
	}
}

// TestKallsymsBelieved: what has the form of the tables of a kernel and is none: too few symbols, one missing that every
// kernel has, another banner where its symbol is, or addresses that lead elsewhere.
func TestKallsymsBelieved(t *testing.T) {
	for name, l := range fakekernel.Layouts {
		for what, change := range map[string]func(symbols []fakekernel.Symbol, b []byte){
			"few":          nil,
			"no _text":     func(s []fakekernel.Symbol, _ []byte) { s[0].Name = "text" },
			"no banner":    func(s []fakekernel.Symbol, _ []byte) { s[1].Name = "banner" },
			"other banner": func(_ []fakekernel.Symbol, b []byte) { b[0] = 'l' },
			"elsewhere":    func(s []fakekernel.Symbol, _ []byte) { s[1].Addr += 8 },
		} {
			symbols, b := randomSymbols(minSymbols, l.PerCPU, 1), []byte(nil)
			if change == nil {
				symbols = randomSymbols(minSymbols-3, l.PerCPU, 1)
			} else {
				change(symbols, make([]byte, 1))
			}
			if b = inRodata(l, symbols, ""); change != nil {
				change(make([]fakekernel.Symbol, 2), b)
			}
			if list, err := decode(b); !errors.Is(err, ErrNoKallsyms) {
				t.Errorf("%s, %s: %d symbols, %v", name, what, len(list), err)
			}
		}
	}
}

func FuzzKallsyms(f *testing.F) {
	for _, l := range fakekernel.Layouts {
		symbols := randomSymbols(minSymbols, l.PerCPU, 2)
		for i := range symbols { // or each run would take a tenth of a second
			symbols[i].Name = symbols[i].Name[:min(len(symbols[i].Name), 12)]
		}
		f.Add(inRodata(l, symbols, ""))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		last := uint64(0)
		list, err := decode(b)
		if err != nil && list != nil {
			t.Errorf("%d symbols, and the error %v", len(list), err)
		}
		for _, s := range list {
			if s.addr < last || s.name == "" || len(s.name) > maxName {
				t.Errorf("%+v", s)
			}
			last = s.addr
		}
	})
}
