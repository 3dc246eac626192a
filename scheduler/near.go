package scheduler

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Inputs is what a module needs of what others left, by the workers that have it.
// It is shared and does not change.
type Inputs struct {
	// Bytes is the size of all of it.
	Bytes int64
	// Held has the workers that hold some of it, by their ids.
	Held []Held
}

// Held is a part of a module's inputs that a worker has.
type Held struct {
	Worker pipeline.NodeID
	Bytes  int64
}

func (in *Inputs) at(id pipeline.NodeID) int64 {
	for _, h := range in.Held {
		if h.Worker == id {
			return h.Bytes
		}
	}
	return 0
}

const (
	// DefaultRate is how many bytes a second are taken to move from node to node.
	DefaultRate = 100 << 20
	// minGain is how much time has to be won before the bytes count for more than
	// an even load.
	minGain = 50 * time.Millisecond
	// maxAside bounds the wait for a slot: what frees it may be late, and others may
	// take it.
	maxAside = time.Minute
)

// missing is how long it takes to move to a worker what it has not.
func (v *View) missing(in *Inputs, w *Worker) time.Duration {
	rate := v.Rate
	if rate <= 0 {
		rate = DefaultRate
	}
	return time.Duration(float64(in.Bytes-in.at(w.ID)) / float64(rate) * float64(time.Second))
}

// near chooses for a module with inputs: least, the least loaded of those that
// have room; or one that has more of the inputs; or nobody yet, where a worker
// that has more of them will have a slot sooner than the rest could be moved. gain
// is how many bytes more it has than the least loaded.
func (p *planner) near(m *Module, least *Worker, mayWait bool) (where *Worker, gain int64, wait bool) {
	in := m.Inputs
	first := p.view.missing(in, least)
	where, best := least, first
	var sooner *Worker
	soonest := best
	for _, h := range in.Held {
		w := p.worker(h.Worker)
		if w == nil || w.Closed || w.ID == m.Class.Avoid || !Fits(w, m.Class) || !p.view.Kept.Allows(w, m.Class) {
			continue
		}
		cost := p.view.missing(in, w)
		switch {
		case w.room(m.Class):
			if cost < best && first-cost >= minGain || cost == best && where != least && candidateOf(w).before(candidateOf(where)) {
				where, best = w, cost
			}
		case w.FreeIn > 0 && w.FreeIn <= maxAside && w.roomLater(m.Class):
			if cost += w.FreeIn; cost < soonest {
				sooner, soonest = w, cost
			}
		}
	}
	if !m.aside.IsZero() && p.view.Now.Sub(m.aside) >= maxAside {
		mayWait = false
	}
	if mayWait && sooner != nil && best-soonest >= minGain {
		return sooner, 0, true
	}
	return where, in.at(where.ID) - in.at(least.ID), false
}

// roomLater reports whether all that is missing is a slot.
func (w *Worker) roomLater(c Class) bool { return w.Used >= w.Slots && w.roomy(c) }

func (p *planner) worker(id pipeline.NodeID) *Worker {
	if p.byID == nil {
		p.byID = make(map[pipeline.NodeID]*Worker, len(p.view.Workers))
		for _, w := range p.view.Workers {
			p.byID[w.ID] = w
		}
	}
	return p.byID[id]
}

// Near is a module that waits for a slot of a worker that has its inputs.
type Near struct {
	Run    pipeline.RunID
	Module string
	Worker *Worker
	// Bytes is how much of the inputs it has.
	Bytes int64
}

// setAside takes a module out of the plan; putBack makes it ready again.
func (p *planner) setAside(r *Run, q *queue, w *Worker) {
	since := q.since
	m := r.pop(q)
	if m.aside.IsZero() {
		m.aside = p.view.Now
	}
	p.aside = append(p.aside, aside{r, m, since})
	p.view.Near = append(p.view.Near, Near{Run: r.ID, Module: m.Name, Worker: w, Bytes: m.Inputs.at(w.ID)})
}

type aside struct {
	run    *Run
	module *Module
	since  time.Time
}

func (p *planner) putBack() {
	for _, a := range p.aside {
		a.run.Add(a.module)
		if q := a.run.byClass[a.module.Class]; q.since.IsZero() {
			q.since = a.since
		}
	}
}
