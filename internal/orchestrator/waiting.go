package orchestrator

import (
	"cmp"
	"slices"

	"github.com/pipelined/pipelined/pipeline"
)

// waitingKey are modules of a run that wait for the same.
type waitingKey struct {
	run    *run
	reason string
}

// waitingEverywhere lists what waits for something else than other modules of its run.
// A run that is not in the model waits as a whole, since a time that only the state has.
func (c *census) waitingEverywhere(limit int) (list map[pipeline.RunID][]pipeline.Waiting, kinds map[string]int) {
	kinds = map[string]int{}
	found := map[waitingKey]*pipeline.Waiting{}
	for _, r := range c.model.runs {
		for _, m := range r.list {
			if m.state != pipeline.ModuleWaiting {
				continue
			}
			kind := c.reason(m)
			kinds[kind]++
			if kind == waitsDependency {
				continue
			}
			if text := c.why(m, c.now); text != "" {
				c.add(found, waitingKey{r, text}, kind, m)
			}
		}
	}

	out, left := c.oldest(found, limit)
	for id, x := range c.parking.byID {
		w := pipeline.Waiting{Count: x.weight - runWeight}
		w.Kind, w.Reason = x.waits()
		kinds[w.Kind] += w.Count
		if left > 0 {
			left--
			out[id] = []pipeline.Waiting{w}
		}
	}
	return out, kinds
}

func (c *census) add(found map[waitingKey]*pipeline.Waiting, k waitingKey, kind string, m *moduleState) {
	since := m.lockReadySince()
	w := found[k]
	if w == nil {
		w = &pipeline.Waiting{Kind: kind, Reason: k.reason, Since: since.UTC()}
		found[k] = w
	}
	w.Count++
	if len(w.Modules) < pipeline.MaxWaitingNames {
		w.Modules = append(w.Modules, m.def.Name)
	}
	if since.Before(w.Since) {
		w.Since = since.UTC()
	}
}

// oldest are the entries that have waited longest, by run, and how many more fit.
func (c *census) oldest(found map[waitingKey]*pipeline.Waiting, limit int) (out map[pipeline.RunID][]pipeline.Waiting, left int) {
	type entry struct {
		run    pipeline.RunID
		number uint64
		pipeline.Waiting
	}
	var all []entry
	for k, w := range found {
		all = append(all, entry{k.run.head.ID, k.run.head.Number, *w})
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.number, b.number), cmp.Compare(a.Reason, b.Reason))
	})

	out = map[pipeline.RunID][]pipeline.Waiting{}
	n := min(len(all), limit)
	for _, e := range all[:n] {
		out[e.run] = append(out[e.run], e.Waiting)
	}
	return out, limit - n
}
