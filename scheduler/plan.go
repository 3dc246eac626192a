package scheduler

import (
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
	// Near is the worker on the orchestrator's own node: it needs no call.
	Near bool
	// Outside workers get only modules that require a tag of theirs.
	Outside bool
	// Plain workers are reached over plain HTTP.
	Plain bool
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
// number of placements and, for each distinct class, the number of workers with
// a free slot; it does not follow the backlog.
func Plan(v *View) ([]Placement, []Explanation) {
	p := &planner{view: v, pools: map[Class]*pool{}, shared: map[string]*pool{}, none: map[Class]bool{}}
	for _, w := range v.Workers {
		if !w.Closed && w.Used < w.Slots {
			p.open = append(p.open, w)
		}
	}
	h := make(minHeap[*Run], 0, len(v.Runs))
	for _, r := range v.Runs {
		if r.Len() > 0 {
			h = append(h, r)
		}
	}
	h.build()
	for len(h) > 0 {
		switch r := h[0]; {
		case r.Len() == 0:
			h.pop()
		case r.full():
			p.explain(r, Class{}, AtLimit)
			h.pop()
		case !p.placeOne(r):
			h.pop()
		default:
			h.down(0)
		}
	}
	return p.placed, p.why
}

type planner struct {
	view   *View
	open   []*Worker        // had a free slot when the plan began
	pools  map[Class]*pool  // by class without Avoid
	shared map[string]*pool // by the set of workers in it
	none   map[Class]bool
	placed []Placement
	why    []Explanation
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
			if p.nobody(q.class) {
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

// Fits reports whether a worker has what a class requires, whatever its load.
func Fits(w *Worker, c Class) bool {
	if c.Pin != "" && c.Pin != w.ID || w.Slots <= 0 {
		return false
	}
	if c.OS != "" && c.OS != strings.ToLower(w.OS) || c.Arch != "" && c.Arch != strings.ToLower(w.Arch) {
		return false
	}
	if w.Plain && c.Private {
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

// before orders runs by priority, fewest running, age.
func (r *Run) before(o *Run) bool {
	if r.Priority != o.Priority {
		return r.Priority > o.Priority
	}
	if r.Running != o.Running {
		return r.Running < o.Running
	}
	if r.Number != o.Number {
		return r.Number < o.Number
	}
	return r.ID < o.ID
}
