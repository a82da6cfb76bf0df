package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// A tally counts what many runs have ended in.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[what]++
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []string
	for _, what := range sortedKeys(c.n) {
		parts = append(parts, fmt.Sprintf("%d %s", c.n[what], what))
	}
	return strings.Join(parts, ", ")
}

// expect: each of these was met, or the runs have not shown what they were made for.
func (c *tally) expect(t *testing.T, all ...string) {
	t.Helper()
	for _, what := range all {
		if c.n[what] == 0 {
			t.Errorf("no run ended in %q: %v", what, c)
		}
	}
}
