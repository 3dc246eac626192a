package scheduler

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Inputs is what a module needs of the outputs of others, by the workers that
// have it. It is shared and must not change.
type Inputs struct {
	// Bytes is the size of all of it.
	Bytes int64
	// Held lists the workers that have some of it, sorted by id.
	Held []Held
}

// Held is a part of a module's inputs that a worker has.
type Held struct {
	Worker pipeline.NodeID
	Bytes  int64
}

func (in *Inputs) heldBy(id pipeline.NodeID) int64 {
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
	// minGain is how much time a local worker must save before locality counts
	// more than an even load.
	minGain = 50 * time.Millisecond
	// maxLocalityWait bounds the wait for a slot: the attempt that frees it may be
	// late, and another module may get it.
	maxLocalityWait = time.Minute
)

// missing is the time to transfer the inputs that a worker does not have.
func (v *View) missing(in *Inputs, w *Worker) time.Duration {
	rate := v.Rate
	if rate <= 0 {
		rate = DefaultRate
	}
	return time.Duration(float64(in.Bytes-in.heldBy(w.ID)) / float64(rate) * float64(time.Second))
}

// chooseLocal chooses the worker of a module with large inputs: least, the
// least loaded one with capacity, or one with capacity that has more of the
// inputs. If wait is set, the module should wait for that worker instead: it
// has more of the inputs and will have a slot sooner than they could be
// transferred. gain is how many bytes more the worker has than least.
func (p *planner) chooseLocal(m *Module, least *Worker, mayWait bool) (where *Worker, gain int64, wait bool) {
	in := m.Inputs
	first := p.view.missing(in, least)
	where, best := least, first
	var sooner *Worker
	soonest := best

	for _, h := range in.Held {
		w := p.worker(h.Worker)
		if w == nil || w.Closed || w.ID == m.Class.Avoid || !Fits(w, m.Class) || !p.view.Reservation.Allows(w, m.Class) {
			continue
		}

		cost := p.view.missing(in, w)
		switch {
		case w.hasCapacity(m.Class):
			if cost < best && first-cost >= minGain || cost == best && where != least && candidateOf(w).before(candidateOf(where)) {
				where, best = w, cost
			}
		case w.FreeIn > 0 && w.FreeIn <= maxLocalityWait && w.onlySlotMissing(m.Class):
			if cost += w.FreeIn; cost < soonest {
				sooner, soonest = w, cost
			}
		}
	}

	if !m.postponedSince.IsZero() && p.view.Now.Sub(m.postponedSince) >= maxLocalityWait {
		mayWait = false
	}

	if mayWait && sooner != nil && best-soonest >= minGain {
		return sooner, 0, true
	}

	return where, in.heldBy(where.ID) - in.heldBy(least.ID), false
}

// onlySlotMissing reports whether a worker would have capacity with one more slot.
func (w *Worker) onlySlotMissing(c Class) bool { return w.Used >= w.Slots && w.enoughResources(c) }

func (p *planner) worker(id pipeline.NodeID) *Worker {
	if p.byID == nil {
		p.byID = make(map[pipeline.NodeID]*Worker, len(p.view.Workers))
		for _, w := range p.view.Workers {
			p.byID[w.ID] = w
		}
	}
	return p.byID[id]
}

// LocalityWait is a module that waits for a slot of a worker that has its inputs.
type LocalityWait struct {
	Run    pipeline.RunID
	Module string
	Worker *Worker
	// Bytes is how much of the inputs the worker has.
	Bytes int64
}

// postpone removes a module from the plan, so that the next one of its class is
// considered; restorePostponed makes it ready again.
func (p *planner) postpone(r *Run, q *queue, w *Worker) {
	since := q.since
	m := r.pop(q)
	if m.postponedSince.IsZero() {
		m.postponedSince = p.view.Now
	}

	p.postponed = append(p.postponed, postponed{r, m, since})
	p.view.LocalityWaits = append(p.view.LocalityWaits, LocalityWait{Run: r.ID, Module: m.Name, Worker: w, Bytes: m.Inputs.heldBy(w.ID)})
}

type postponed struct {
	run    *Run
	module *Module
	since  time.Time
}

func (p *planner) restorePostponed() {
	for _, a := range p.postponed {
		a.run.Add(a.module)
		if q := a.run.queueOf(a.module); q.since.IsZero() {
			q.since = a.since
		}
	}
}
