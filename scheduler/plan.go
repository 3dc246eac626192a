package scheduler

import (
	"container/heap"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// Worker is somebody who can take modules.
type Worker struct {
	ID   pipeline.NodeID
	Name string
	OS   string
	Arch string
	// Tools and Tags hold lower-case names.
	Tools map[string]bool
	Tags  map[string]bool
	// Slots is how many modules it takes at once, Used how many it has.
	Slots, Used int
	// Closed workers get nothing: draining, away, not heard of yet.
	Closed bool
	// Outside workers get only modules that require a tag of theirs.
	Outside bool
}

// View is what the planner looks at. Plan changes it: placed modules leave
// their runs, counters go up.
type View struct {
	Runs    []*Run
	Workers []*Worker
}

// Placement gives a module to a worker.
type Placement struct {
	Run    pipeline.RunID
	Module *Module
	Worker pipeline.NodeID
	// WorkerName is for people.
	WorkerName string
}

// Why says why ready modules of a class were not placed.
type Why int

// The reasons.
const (
	// NoSlot: workers that could take it have no free slot.
	NoSlot Why = iota + 1
	// NoWorker: nobody here has what it requires.
	NoWorker
	// AtLimit: the run has as many running as it may.
	AtLimit
)

// Explanation says why what is ready in a run was not placed. Class is the
// zero Class for AtLimit.
type Explanation struct {
	Run   pipeline.RunID
	Class Class
	Why   Why
}

// Plan places as many ready modules as there are slots. Its cost follows the
// number of placements and the number of distinct classes, not the backlog.
func Plan(v *View) ([]Placement, []Explanation) {
	p := &planner{view: v, pools: map[Class]*pool{}}
	h := make(runHeap, 0, len(v.Runs))
	for _, r := range v.Runs {
		if r.Len() > 0 {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		r := h[0]
		if r.Len() == 0 {
			heap.Pop(&h)
			continue
		}
		if r.full() {
			p.explain(r, Class{}, AtLimit)
			heap.Pop(&h)
			continue
		}
		if !p.placeOne(r) {
			heap.Pop(&h)
			continue
		}
		heap.Fix(&h, 0)
	}
	return p.placed, p.why
}

type planner struct {
	view   *View
	pools  map[Class]*pool
	placed []Placement
	why    []Explanation
}

// pool is the workers that can take a class, least loaded first as far as
// next looks; none says that nobody can whatever the load.
type pool struct {
	workers []*Worker
	none    bool
}

// placeOne places the first module of the run that has somewhere to go, and
// explains the run where there is none.
func (p *planner) placeOne(r *Run) bool {
	var best *queue
	var where *Worker
	for _, q := range r.queues {
		if best != nil && !q.modules[0].before(best.modules[0]) {
			continue
		}
		if w := p.free(q.class); w != nil {
			best, where = q, w
		}
	}
	if best == nil {
		for _, q := range r.queues {
			why := NoSlot
			if p.pool(q.class).none {
				why = NoWorker
			}
			p.explain(r, q.class, why)
		}
		return false
	}
	m := r.pop(best)
	where.Used++
	r.Running++
	p.placed = append(p.placed, Placement{Run: r.ID, Module: m, Worker: where.ID, WorkerName: where.Name})
	return true
}

func (p *planner) explain(r *Run, c Class, why Why) {
	p.why = append(p.why, Explanation{Run: r.ID, Class: c, Why: why})
}

// free gives the worker with the smallest share of its slots in use; ties go
// to the one with more free slots, then to the smaller id.
func (p *planner) free(c Class) *Worker {
	pl := p.pool(c)
	var best, avoided *Worker
	live := pl.workers[:0]
	for _, w := range pl.workers {
		if w.Used >= w.Slots {
			continue // full for the rest of this plan: drop it from the pool
		}
		live = append(live, w)
		if w.ID == c.Avoid {
			avoided = w
			continue
		}
		if best == nil || w.lessLoaded(best) {
			best = w
		}
	}
	pl.workers = live
	if best == nil {
		return avoided
	}
	return best
}

func (w *Worker) lessLoaded(o *Worker) bool {
	a, b := w.Used*o.Slots, o.Used*w.Slots
	if a != b {
		return a < b
	}
	if fw, fo := w.Slots-w.Used, o.Slots-o.Used; fw != fo {
		return fw > fo
	}
	return w.ID < o.ID
}

func (p *planner) pool(c Class) *pool {
	if pl, ok := p.pools[c]; ok {
		return pl
	}
	pl := &pool{none: true}
	for _, w := range p.view.Workers {
		if !Fits(w, c) {
			continue
		}
		pl.none = false
		if !w.Closed && w.Used < w.Slots {
			pl.workers = append(pl.workers, w)
		}
	}
	p.pools[c] = pl
	return pl
}

// Fits reports whether a worker has what a class requires, whatever its load.
func Fits(w *Worker, c Class) bool {
	if c.Pin != "" && c.Pin != w.ID || w.Slots == 0 {
		return false
	}
	if c.OS != "" && c.OS != strings.ToLower(w.OS) || c.Arch != "" && c.Arch != strings.ToLower(w.Arch) {
		return false
	}
	if w.Outside && c.Pin == "" && !anyIn(c.Tags, w.Tags) {
		return false
	}
	return allIn(c.Tools, w.Tools) && allIn(c.Tags, w.Tags)
}

func allIn(list string, have map[string]bool) bool {
	if list == "" {
		return true
	}
	for s := range strings.SplitSeq(list, "\x00") {
		if !have[s] {
			return false
		}
	}
	return true
}

func anyIn(list string, have map[string]bool) bool {
	if list == "" {
		return false
	}
	for s := range strings.SplitSeq(list, "\x00") {
		if have[s] {
			return true
		}
	}
	return false
}

// runHeap orders runs by priority, fewest running, age.
type runHeap []*Run

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	if a.Running != b.Running {
		return a.Running < b.Running
	}
	return a.Number < b.Number
}
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push and Pop are container/heap's.
func (h *runHeap) Push(x any) { *h = append(*h, x.(*Run)) }

// Pop takes the last element off.
func (h *runHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	*h = old[:len(old)-1]
	return r
}
