package volume

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, text := range []string{"0", "1", "128", "vg/root", "vg-0.1/lv_a+b", "0/0", strings.Repeat("v", 127) + "/l"} {
		id, err := Parse(text)
		if err != nil || string(id) != text {
			t.Errorf("%q: %q, %v", text, id, err)
		}
		b, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		if wantString := strings.Contains(text, "/"); (b[0] == '"') != wantString {
			t.Errorf("%q: %s", text, b)
		}
		var back ID
		if err := json.Unmarshal(b, &back); err != nil || back != id {
			t.Errorf("%s: %q, %v", b, back, err)
		}
	}
	for _, text := range []string{
		"", "-1", "01", "+1", "1 ", "99999999999999999999", "vg", "vg/", "/lv", "vg/a/b", "../lv", "vg/-a", "vg/a:b", "vg/a b", "vg/\u00e4",
		strings.Repeat("v", 128) + "/l",
	} {
		if id, err := Parse(text); err == nil {
			t.Errorf("%q is %q", text, id)
		}
	}
	for _, text := range []string{`"1"`, `vg/root`, `null`, `true`, `1.0`, `[1]`, `"vg/a:b"`} {
		var id ID
		if err := json.Unmarshal([]byte(text), &id); err == nil {
			t.Errorf("%s is %q", text, id)
		}
	}
	if b, err := json.Marshal(ID("")); err == nil {
		t.Errorf("no volume is %s", b)
	}
}

func TestCompare(t *testing.T) {
	want := []ID{"0", "1", "2", "10", "vg/a", "vg/b", "vg2/a"}
	got := slices.Clone(want)
	rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
	if slices.SortFunc(got, Compare); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestTitle(t *testing.T) {
	for id, want := range map[ID]string{"0": "the whole disk", "2": "partition 2", "vg/root": "volume vg/root"} {
		if got := id.Title(); got != want {
			t.Errorf("%q: %q", id, got)
		}
	}
}
