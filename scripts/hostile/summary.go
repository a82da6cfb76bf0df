package hostile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// A summary counts what happened. It may be used by several goroutines at once.
type summary struct {
	Seed     uint64           `json:"seed"`
	Images   int              `json:"images"`
	Runs     int              `json:"runs"`
	Seconds  float64          `json:"seconds"`
	Signed   int              `json:"signed"`
	Refused  int              `json:"refused"`
	Reasons  map[string]int   `json:"reasons"`
	Alone    map[string][]int `json:"alone"` // refusals that e2fsck does not share, with their images
	Slowest  peak             `json:"slowest"`
	CPU      peak             `json:"most_cpu"`
	Memory   peak             `json:"most_memory"`
	Faults   []faultObject    `json:"faults"`
	mu       sync.Mutex
	lastTold time.Time
}

// A peak is the most that a run took.
type peak struct {
	Value   float64 `json:"value"` // seconds, or megabytes
	Command string  `json:"command"`
	Number  int     `json:"number"`
}

type faultObject struct {
	Number int      `json:"number"`
	Kind   string   `json:"kind"`
	Damage []string `json:"damage"`
	Faults []string `json:"faults"`
	Kept   string   `json:"kept"`
}

func newSummary(seed uint64) *summary {
	return &summary{Seed: seed, Reasons: map[string]int{}, Alone: map[string][]int{}, Faults: []faultObject{}, lastTold: time.Now()}
}

func (s *summary) add(r *result, verbose bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Images++
	if r.refusal == "" {
		s.Signed++
	} else {
		s.Refused++
		s.Reasons[r.refusal]++
		if r.alone {
			s.Alone[r.refusal] = append(s.Alone[r.refusal], r.number)
		}
	}
	for _, c := range r.children {
		s.Runs++
		s.Slowest.raise(c.wall.Seconds(), c, r)
		s.CPU.raise(c.CPU.Seconds(), c, r)
		s.Memory.raise(float64(c.RSS)/(1<<20), c, r)
	}
	if len(r.faults) > 0 {
		s.Faults = append(s.Faults, faultObject{r.number, r.kind, r.damage, r.faults, r.kept})
		first, _, _ := strings.Cut(r.faults[0], "\n")
		fmt.Fprintf(os.Stderr, "fault: image %d (%s): %s: %s\n", r.number, r.kind, strings.Join(r.damage, "; "), first)
	}
	if verbose {
		fmt.Fprintf(os.Stderr, "%d %s: %s: %s\n", r.number, r.kind, strings.Join(r.damage, "; "), cmp.Or(r.refusal, "signed"))
	}
	if time.Since(s.lastTold) > time.Minute {
		s.lastTold = time.Now()
		fmt.Fprintf(os.Stderr, "%d images, %d signed, %d refused, %d with faults\n", s.Images, s.Signed, s.Refused, len(s.Faults))
	}
}

func (p *peak) raise(v float64, c *child, r *result) {
	if v > p.Value {
		*p = peak{v, c.name(), r.number}
	}
}

var (
	quoted   = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	figures  = regexp.MustCompile(`0x[0-9a-f]+|[0-9]+`)
	location = regexp.MustCompile(`^.*?(the whole disk|partition [0-9]+) \(ext[234]\): `)
)

// reason is the class of a refusal: the message without names and numbers.
func reason(c *child) string {
	for line := range strings.Lines(c.stderr) {
		message, ok := strings.CutPrefix(strings.TrimSpace(line), "error: ")
		if !ok {
			continue
		}
		message = location.ReplaceAllString(message, "")
		for _, path := range c.args {
			message = strings.ReplaceAll(message, path, "IMAGE")
		}
		return figures.ReplaceAllString(quoted.ReplaceAllString(message, "NAME"), "N")
	}
	return "without a message"
}

func (s *summary) print(w io.Writer, asJSON bool) error {
	slices.SortFunc(s.Faults, func(a, b faultObject) int { return cmp.Compare(a.Number, b.Number) })
	if asJSON {
		return json.NewEncoder(w).Encode(s)
	}
	fmt.Fprintf(w, "seed %d: %d images, %d runs of imagetool in %.0f s\n", s.Seed, s.Images, s.Runs, s.Seconds)
	fmt.Fprintf(w, "slowest run %.2f s (%s, image %d), most CPU %.2f s (%s, image %d), most memory %.0f MB (%s, image %d)\n",
		s.Slowest.Value, s.Slowest.Command, s.Slowest.Number, s.CPU.Value, s.CPU.Command, s.CPU.Number,
		s.Memory.Value, s.Memory.Command, s.Memory.Number)
	fmt.Fprintf(w, "%7d signed, found clean by e2fsck and otherwise unchanged by debugfs\n%7d refused:\n", s.Signed, s.Refused)
	reasons := slices.SortedFunc(maps.Keys(s.Reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Reasons[b], s.Reasons[a]), cmp.Compare(a, b))
	})
	for _, r := range reasons {
		fmt.Fprintf(w, "%7d   %s\n", s.Reasons[r], r)
	}
	for _, r := range slices.Sorted(maps.Keys(s.Alone)) {
		slices.Sort(s.Alone[r])
		fmt.Fprintf(w, "e2fsck finds nothing wrong with what is refused as: %s (images %v)\n", r, s.Alone[r])
	}
	for _, f := range s.Faults {
		fmt.Fprintf(w, "fault: image %d (%s), kept as %s\n  %s\n", f.Number, f.Kind, f.Kept, strings.Join(f.Damage, "\n  "))
		for _, text := range f.Faults {
			fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      "))
		}
	}
	fmt.Fprintf(w, "%7d with a fault\n", len(s.Faults))
	return nil
}
