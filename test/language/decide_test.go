package language

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"time"
)

// hint is how those who follow a run are told what a module waits for.
var hint = regexp.MustCompile(`\(pipelined approve ([^)]*)\)\n`)

// decide says the words of a case as its modules wait for them, which stderr of
// whoever follows the run tells, until the returned function is called.
func (c *testCase) decide(stderr func() string, cli func(args ...string) error) (stop func()) {
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		said := map[string]bool{}
		for len(said) < len(c.words) {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for _, m := range hint.FindAllStringSubmatch(stderr(), -1) {
				args := strings.Fields(m[1])
				name := strings.Trim(args[len(args)-1], "'") // quoted for a shell
				args[len(args)-1] = name
				w, ok := c.words[name]
				if !ok || said[name] {
					continue
				}
				said[name] = true
				flag := map[string]string{"approve": "-comment", "reject": "-reason"}[w.verb]
				if cli(append([]string{w.verb, flag, w.text}, args...)...) != nil {
					return
				}
			}
		}
	})
	return func() {
		close(done)
		group.Wait()
	}
}

// lockedText takes what a process writes while others read it.
type lockedText struct {
	mu   sync.Mutex // guards following
	text bytes.Buffer
}

// Write takes a piece.
func (b *lockedText) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// Reset empties it.
func (b *lockedText) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Reset()
}

// String is everything so far.
func (b *lockedText) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
