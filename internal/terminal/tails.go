package terminal

import "github.com/pipelined/pipelined/pipeline"

const (
	// tailLines is how many lines of a module are kept for when it fails.
	tailLines = 20
	// tailBytes is how much is kept of each.
	tailBytes = 1000
)

// tails keeps the last lines of modules that have not succeeded. One goroutine uses it.
type tails struct{ of map[string]*tail }

// tail is the end of a module's output.
type tail struct {
	// count is how many lines the attempt has written so far.
	count int
	// lines are the last of them; the newest is at (count-1) modulo tailLines.
	lines [tailLines][]byte
}

// numbered is a line with its number, from 1.
type numbered struct {
	number int
	text   string
}

func newTails() *tails { return &tails{of: map[string]*tail{}} }

// add takes a line, or a piece of one.
func (t *tails) add(p part) {
	k := t.of[p.module]
	if k == nil {
		k = &tail{}
		t.of[p.module] = k
	}

	if p.begins || k.count == 0 {
		k.count++
		at := &k.lines[k.at(k.count)]
		*at = append((*at)[:0], p.text[:min(len(p.text), tailBytes)]...)
		return
	}

	at := &k.lines[k.at(k.count)]
	*at = append(*at, p.text[:min(len(p.text), max(tailBytes-len(*at), 0))]...)
}

func (k *tail) at(number int) int { return (number - 1) % tailLines }

// restart forgets the output of an earlier attempt.
func (t *tails) restart(module string, _ int) { delete(t.of, module) }

// ended forgets the output of an attempt that gives no reason to show it.
func (t *tails) ended(module string, s pipeline.AttemptState) {
	if s == pipeline.AttemptSucceeded {
		delete(t.of, module)
	}
}

// newest is the last line of a module that is not empty, without what steers a terminal.
func (t *tails) newest(module string) string {
	k := t.of[module]
	if k == nil {
		return ""
	}

	for n := k.count; n > max(0, k.count-tailLines); n-- {
		if text := Flat(string(k.lines[k.at(n)])); text != "" {
			return text
		}
	}
	return ""
}

// last gives the lines that are kept, in their order.
func (t *tails) last(module string) []numbered {
	k := t.of[module]
	if k == nil {
		return nil
	}

	var list []numbered
	for n := max(1, k.count-tailLines+1); n <= k.count; n++ {
		list = append(list, numbered{n, string(k.lines[k.at(n)])})
	}
	return list
}
