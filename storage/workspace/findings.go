package workspace

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// findings collects what a user should know about a snapshot. Its methods are
// safe for concurrent use.
type findings struct {
	mu sync.Mutex
	// guards following
	warned  []string
	changed []string
}

// warn adds a line; "" is none.
func (f *findings) warn(text string) {
	if text == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.warned = append(f.warned, text)
}

// change notes that a file changed while it was read.
func (f *findings) change(rel string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = append(f.changed, rel)
}

// tell calls warn, which may be nil, for each line.
func (f *findings) tell(warn func(string)) {
	if warn == nil {
		return
	}
	for _, line := range f.lines() {
		warn(line)
	}
}

// lines returns one line for everything that changed, and one for each thing that
// was left out, but not hundreds.
func (f *findings) lines() []string {
	f.mu.Lock()
	defer f.mu.Unlock()

	const many = 20
	lines := f.warned
	slices.Sort(lines)
	if len(lines) > many {
		more := len(lines) - many
		lines = append(lines[:many:many], fmt.Sprintf("%d more were left out", more))
	}

	slices.Sort(f.changed)
	f.changed = slices.Compact(f.changed)
	if n := len(f.changed); n > 0 {
		shown := f.changed[:min(n, 5)]
		text := "changed while being read; the version read was used: " + strings.Join(shown, ", ")
		if n > len(shown) {
			text += fmt.Sprintf(" and %d more", n-len(shown))
		}
		lines = append(lines, text)
	}

	return lines
}
