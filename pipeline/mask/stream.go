package mask

// Stream masks a text that comes in pieces, with the same result wherever it is
// cut. It holds back only what may be the beginning of a value, less than the
// longest pattern; everything else is given at once, so that a line is held
// only while its end looks like a secret's beginning. It is for one goroutine.
type Stream struct {
	set   *Set
	state int32
	// held is received but not yet written: the prefix of a pattern that state
	// represents.
	held []byte
	// runs are the covered parts of held, sorted and apart from each other.
	runs []run
}

// run is a stretch that is covered, from begin up to end. The first one may
// have its mark in what was given already.
type run struct {
	begin, end int
	marked     bool
}

// Stream returns a new stream; nil for a nil Set.
func (s *Set) Stream() *Stream {
	if s == nil {
		return nil
	}
	return &Stream{set: s}
}

// Append masks more of the text, appends to dst what is decided, and returns
// that. It keeps no reference to text.
func (st *Stream) Append(dst, text []byte) []byte {
	s := st.set
	all, from := text, 0
	if len(st.held) > 0 {
		from = len(st.held)
		st.held = append(st.held, text...)
		all = st.held
	}

	at := st.state
	for i := from; i < len(all); i++ {
		if at == 0 {
			for s.root[all[i]] == 0 {
				if i++; i == len(all) {
					break
				}
			}
			if i == len(all) {
				break
			}
		}

		at = s.step(at, all[i])
		if n := int(s.nodes[at].out); n > 0 {
			st.cover(i+1-n, i+1)
		}

		for at != 0 && s.nodes[at].child == 0 {
			at = s.nodes[at].fail // nothing longer can begin there
		}
	}

	st.state = at
	sure := len(all) - int(s.nodes[at].depth)
	dst = st.give(dst, all, sure)
	if cap(st.held) > keepHeld {
		st.held = nil
	}

	st.held = append(st.held[:0], all[sure:]...)

	return dst
}

// keepHeld is the size of a buffer that is worth keeping.
const keepHeld = 16 << 10

// Close appends what was held back, at the end of the text. The stream can then
// begin with another one.
func (st *Stream) Close(dst []byte) []byte {
	dst = st.give(dst, st.held, len(st.held))
	st.state, st.held, st.runs = 0, st.held[:0], st.runs[:0]
	return dst
}

// cover adds a stretch to the runs. Stretches come in the order of their ends.
func (st *Stream) cover(begin, end int) {
	r := run{begin: begin, end: end}
	for n := len(st.runs); n > 0 && r.begin <= st.runs[n-1].end; n-- {
		last := st.runs[n-1]
		r.begin, r.marked = min(r.begin, last.begin), r.marked || last.marked
		st.runs = st.runs[:n-1]
	}
	st.runs = append(st.runs, r)
}

// give appends all of the text before sure, and keeps the runs that reach to it
// or beyond, since later text may touch them.
func (st *Stream) give(dst, all []byte, sure int) []byte {
	at, kept := 0, st.runs[:0]
	for _, r := range st.runs {
		if r.begin < sure || r.marked {
			dst = append(dst, all[at:min(max(r.begin, at), sure)]...)
			if !r.marked {
				dst = append(dst, Mark...)
				r.marked = true
			}
			at = min(r.end, sure)
		}

		if r.end >= sure {
			kept = append(kept, run{max(r.begin-sure, 0), r.end - sure, r.marked})
		}
	}

	st.runs = kept

	return append(dst, all[at:sure]...)
}
