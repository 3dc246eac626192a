package terminal

import (
	"slices"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// tailLines is how many lines of a module are kept for when it fails.
	tailLines = 20
	// tailBytes is how much is kept of each.
	tailBytes = 1000
	// besideLines is how many lines of services are shown at least, if there are any.
	besideLines = 5
)

// tails keeps the last lines of modules that have not succeeded. One goroutine uses it.
type tails struct{ of map[string]*tail }

// tail is the end of a module's output. What its services wrote follows its own lines, and
// does not take their place.
type tail struct {
	// count is how many lines the attempt has written so far.
	count int
	// own are the last lines of the module, beside those of its services; current is the
	// one that has the newest line.
	own, beside ring
	current     *ring
}

// ring keeps the last lines that it was given.
type ring struct {
	count   int
	numbers [tailLines]int
	lines   [tailLines][]byte
}

func (r *ring) add(number int, text []byte) {
	r.count++
	i := (r.count - 1) % tailLines
	r.numbers[i], r.lines[i] = number, append(r.lines[i][:0], text[:min(len(text), tailBytes)]...)
}

// extend adds to the newest line.
func (r *ring) extend(text []byte) {
	at := &r.lines[(r.count-1)%tailLines]
	*at = append(*at, text[:min(len(text), max(tailBytes-len(*at), 0))]...)
}

// last gives the last lines, at most so many, in their order.
func (r *ring) last(n int) []numbered {
	var list []numbered
	for i := max(0, r.count-min(n, tailLines)); i < r.count; i++ {
		list = append(list, numbered{r.numbers[i%tailLines], string(r.lines[i%tailLines])})
	}
	return list
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

	if !p.begins && k.current != nil {
		k.current.extend(p.text)
		return
	}
	k.count++
	k.current = &k.own
	if pipeline.OfService(p.text) {
		k.current = &k.beside
	}
	k.current.add(k.count, p.text)
}

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

	for _, l := range slices.Backward(k.last()) {
		if text := Flat(l.text); text != "" {
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
	return k.last()
}

func (k *tail) last() []numbered {
	list := k.own.last(tailLines)
	list = append(list, k.beside.last(max(tailLines-len(list), besideLines))...)
	slices.SortFunc(list, func(a, b numbered) int { return a.number - b.number })
	return list
}
