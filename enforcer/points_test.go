package enforcer

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vmseal/vmseal/formats/profile"
)

var update = flag.Bool("update", false, "write the table of points to README.md")

// TestPoints: every hook of a profile is a point, and no phase has more points than a processor has
// debug registers.
func TestPoints(t *testing.T) {
	var names []string
	in := map[phases]int{}
	for _, p := range points {
		names = append(names, p.function)
		for _, phase := range []phases{before, after} {
			in[phase] += int(p.phases & phase / phase)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, profile.HookNames[:]) {
		t.Errorf("the points are %q, the hooks of a profile %q", names, profile.HookNames)
	}
	if in[before] != 4 || in[after] != 4 {
		t.Errorf("%d points before the policy, %d after it, want 4", in[before], in[after])
	}
}

// TestREADME: the table in README.md is generated from points. -update rewrites it.
func TestREADME(t *testing.T) {
	const file, begin, end = "README.md", "<!-- points.go: go test ./enforcer -run TestREADME -update -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	table, tail, found := strings.Cut(rest, end)
	if !ok || !found {
		t.Fatalf("%s has no %q and %q", file, begin, end)
	}
	want := pointsTable()
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if table != want {
		t.Errorf("%s has\n%swant\n%s", file, table, want)
	}
}

func pointsTable() string {
	var b strings.Builder
	b.WriteString("| phase | function | at a take-over | what the enforcer decides there |\n|---|---|---|---|\n")
	for _, p := range points {
		phase, kept := "both", "its trap must be there"
		if p.phases != both {
			phase, kept = "before the policy", "its trap may be there"
		}
		switch p.phases {
		case after:
			phase = "policy in force"
		case hotplug:
			phase, kept = "policy in force, if vCPUs can be added", "its trap must be there"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", phase, p.function, kept, p.decides)
	}
	return b.String()
}
