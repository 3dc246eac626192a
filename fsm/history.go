package fsm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// maxHistory bounds the modules of which a history is kept. When it is passed,
// those that have not ended for the longest time go, down to 15 of 16 parts. It is
// a variable for tests alone: replicas must agree on it.
var maxHistory = 20_000

// kHistory is the key in bMeta of the number of histories.
var kHistory = []byte("history")

// The value in bHistory is small and has no names in it, since every outcome
// writes one: a byte for its form, three counters, a time, then a byte for the
// state and four for the milliseconds of each outcome, newest first.
const (
	historyForm  = 1
	historyHead  = 1 + 3*4 + 8
	historyEntry = 1 + 4
)

// pastStates are the numbers of states; 0 is any other.
var pastStates = []pipeline.ModuleState{"", pipeline.ModuleSucceeded, pipeline.ModuleFailed, pipeline.ModuleCancelled, pipeline.ModuleSkipped}

func historyBytes(h *pipeline.ModuleHistory) []byte {
	b := make([]byte, 0, historyHead+historyEntry*len(h.Past))
	b = append(b, historyForm)
	for _, n := range []int{h.Succeeded, h.Failed, h.Other} {
		b = binary.BigEndian.AppendUint32(b, uint32(min(n, 1<<32-1)))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(h.At.UnixNano()))
	for _, p := range h.Past {
		b = append(b, byte(max(0, slices.Index(pastStates, p.State))))
		b = binary.BigEndian.AppendUint32(b, uint32(max(0, min(p.Took.Milliseconds(), 1<<32-1))))
	}
	return b
}

func readHistory(b []byte) (h pipeline.ModuleHistory, ok bool) {
	if len(b) < historyHead || b[0] != historyForm {
		return h, false
	}

	n := func(at int) int { return int(binary.BigEndian.Uint32(b[at:])) }
	h.Succeeded, h.Failed, h.Other = n(1), n(5), n(9)
	h.At = time.Unix(0, int64(binary.BigEndian.Uint64(b[13:]))).UTC()

	for at := historyHead; at+historyEntry <= len(b); at += historyEntry {
		p := pipeline.PastOutcome{Took: time.Duration(n(at+1)) * time.Millisecond}
		if int(b[at]) < len(pastStates) {
			p.State = pastStates[b[at]]
		}
		h.Past = append(h.Past, p)
	}

	return h, true
}

// history holds how modules ended over all runs of their pipelines.
type history struct{ *writer }

// add appends the outcome that decided a module to its history.
func (h *history) add(r *pipeline.Run, m *pipeline.ModuleRecord) {
	if badName("", r.Pipeline) != "" {
		return
	}

	key := moduleKey(pipeline.RunID(r.Pipeline), m.Name)

	past, known := readHistory(h.tx.Bucket(bHistory).Get(key))
	switch m.State {
	case pipeline.ModuleSucceeded:
		past.Succeeded++
	case pipeline.ModuleFailed:
		past.Failed++
	default:
		past.Other++
	}

	if h.at.After(past.At) {
		past.At = h.at
	}

	p := pipeline.PastOutcome{State: m.State}
	if !m.StartedAt.IsZero() {
		p.Took = m.FinishedAt.Sub(m.StartedAt)
	}

	past.Past = append([]pipeline.PastOutcome{p}, past.Past...)
	past.Past = past.Past[:min(len(past.Past), pipeline.MaxPast)]
	h.putRaw(bHistory, key, historyBytes(&past))

	if known {
		return
	}

	n := u64(h.tx.Bucket(bMeta).Get(kHistory)) + 1
	if int(n) > maxHistory {
		n -= h.evict(int(n) - maxHistory*15/16)
	}

	h.putRaw(bMeta, kHistory, be64(n))
}

// evict removes the oldest histories and says how many.
func (h *history) evict(n int) uint64 {
	type old struct {
		key []byte
		at  time.Time
	}

	var all []old
	_ = h.tx.Bucket(bHistory).ForEach(func(k, v []byte) error { // the callback never fails
		past, _ := readHistory(v)
		all = append(all, old{bytes.Clone(k), past.At})
		return nil
	})

	slices.SortFunc(all, func(a, b old) int { return cmp.Or(a.at.Compare(b.at), bytes.Compare(a.key, b.key)) })

	all = all[:min(n, len(all))]
	for _, o := range all {
		h.del(bHistory, o.key)
	}

	return uint64(len(all))
}

// History returns the record of a module of a pipeline over all its runs.
func (v *View) History(name, module string) (pipeline.ModuleHistory, bool) {
	return readHistory(v.tx.Bucket(bHistory).Get(moduleKey(pipeline.RunID(name), module)))
}

// maxSiblings is how many instances of a block are looked at for one that has no
// history.
const maxSiblings = 64

// Expected estimates the durations of modules of a pipeline, in their order; 0
// if nothing is known. An instance that never ran, and a block whose instances
// are not known yet, get the estimate of the other instances. A known duration
// is at least a millisecond.
func (v *View) Expected(name string, mods []pipeline.Module) []time.Duration {
	out := make([]time.Duration, len(mods))
	if k, _ := v.tx.Bucket(bHistory).Cursor().Seek(moduleKey(pipeline.RunID(name), "")); !bytes.HasPrefix(k, moduleKey(pipeline.RunID(name), "")) {
		return out // its first run
	}

	blocks := map[string]time.Duration{}
	for i := range mods {
		m := &mods[i]
		if h, ok := v.History(name, m.Name); ok {
			if d, ok := h.Expected(); ok {
				out[i] = max(d, time.Millisecond)
				continue
			}
		}

		block := m.Of
		if m.Dynamic {
			block = m.Name
		}

		if block == "" {
			continue
		}

		d, done := blocks[block]
		if !done {
			d = v.expectedOf(name, block)
			blocks[block] = d
		}

		out[i] = d
	}

	return out
}

func (v *View) expectedOf(name, block string) time.Duration {
	prefix := append(moduleKey(pipeline.RunID(name), block), '[')
	var list []time.Duration
	c := v.tx.Bucket(bHistory).Cursor()
	for k, b := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(list) < maxSiblings; k, b = c.Next() {
		if h, ok := readHistory(b); ok {
			if d, ok := h.Expected(); ok {
				list = append(list, d)
			}
		}
	}

	d, ok := pipeline.Median(list)
	if !ok {
		return 0
	}

	return max(d, time.Millisecond)
}
