package scheduler

import (
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Worker is a node, or an external worker, that can run modules.
type Worker struct {
	ID   pipeline.NodeID
	Name string
	OS   string
	Arch string
	// Tools and Tags hold lower-case names.
	Tools map[string]bool
	Tags  map[string]bool
	// Engine says that it can run modules in containers.
	Engine bool
	// Slots is how many modules it runs at once, Used how many it has now.
	Slots, Used int
	// CPU, in thousandths of a processor, and Memory, in bytes, are the
	// machine's; 0 means unknown: then nothing can be reserved there. UsedCPU
	// and UsedMemory are the reservations of its modules.
	CPU, UsedCPU       int64
	Memory, UsedMemory int64
	// FreeIn is the expected time until it has a free slot; 0 means unknown. It is
	// read only if all slots are in use.
	FreeIn time.Duration
	// Closed workers get nothing: draining, away, or not reported yet.
	Closed bool
	// Local is the worker on the leader's own node: it needs no network call.
	Local bool
	// External workers get only modules that require a tag of theirs.
	External bool
	// NoSecrets workers get no private modules: they are reached over plain HTTP, or
	// are not to have secrets.
	NoSecrets bool
	// Pipelines are patterns (pipeline.Admits) of the pipelines whose modules an external
	// worker gets; empty: of all.
	Pipelines []string
}

// View is what the planner looks at. Plan changes it: placed modules leave
// their runs, counters go up.
type View struct {
	Runs    []*Run
	Workers []*Worker
	// Now is the caller's time. AgingInterval is how long a class may wait for
	// processors or memory before a worker is reserved for it; 0 means forever.
	Now           time.Time
	AgingInterval time.Duration
	// Rate is how many bytes per second move between nodes; 0 means DefaultRate.
	Rate int64
	// LocalityWaits is set by Plan: the modules that wait for a slot of a worker
	// that has their inputs.
	LocalityWaits []LocalityWait
	// Reservation is set by Plan if it reserves a worker; else nil.
	Reservation *Reservation
}

// Reservation is a worker that gets nothing that would prolong the wait of a
// class which needs more of it than is free now.
type Reservation struct {
	Run    pipeline.RunID
	Class  Class
	Worker *Worker
}

// Allows reports whether a class may go to the worker despite the reservation:
// it needs none of the reserved resources, or there is enough for both.
func (r *Reservation) Allows(w *Worker, c Class) bool {
	if r == nil || r.Worker != w {
		return true
	}

	both := func(used, want, reserved, total int64) bool {
		return want == 0 || reserved == 0 || used+want+reserved <= total
	}

	return both(int64(w.Used), 1, 1, int64(w.Slots)) && both(w.UsedCPU, c.CPU, r.Class.CPU, w.CPU) &&
		both(w.UsedMemory, c.Memory, r.Class.Memory, w.Memory)
}

// Placement assigns a module to a worker.
type Placement struct {
	Run    pipeline.RunID
	Module *Module
	Worker pipeline.NodeID
	// WorkerName is shown to users.
	WorkerName string
	// LocalBytes is how many bytes more of the inputs the worker has than the least
	// loaded one, if that decided the placement; else 0.
	LocalBytes int64
}

// Why says why ready modules of a class were not placed.
type Why int

// The reasons.
const (
	// NoSlot: workers that could take it have no free slot.
	NoSlot Why = iota + 1
	// NoWorker: no worker has what it requires.
	NoWorker
	// AtLimit: the run has as many running as it may, or as many of those with the same
	// limit.
	AtLimit
	// NoCapacity: workers with a free slot have too little processor or memory
	// capacity left.
	NoCapacity
	// Reserved: there is capacity, but only on a worker that is reserved for
	// another class (View.Reservation).
	Reserved
)

// Explanation is why ready modules of a run were not placed. Class is the zero
// Class for AtLimit. Limit is set if that is about the modules that have it; else nil.
type Explanation struct {
	Run   pipeline.RunID
	Class Class
	Limit *Limit
	Why   Why
}

// Plan places as many ready modules as there are slots. Its cost follows the
// number of placements and, for each distinct class, the number of workers with
// a free slot; it does not follow the backlog.
func Plan(v *View) ([]Placement, []Explanation) {
	p := &planner{view: v, pools: map[Class]*pool{}, shared: map[poolKey]*pool{}, possible: map[Class]bool{}}

	for _, w := range v.Workers {
		if !w.Closed && w.Used < w.Slots {
			p.open = append(p.open, w)
		}
	}

	for h := p.groups(); len(h) > 0; {
		g := h[0]
		switch r := g.runs[0]; {
		case r.Len() == 0:
			g.runs.pop()
		case r.full():
			p.explain(r, Class{}, AtLimit)
			g.runs.pop()
		case !p.placeOne(r):
			g.runs.pop()
		default:
			g.runs.down(0)
		}

		if len(g.runs) == 0 {
			h.pop()
			continue
		}
		g.rank()
		h.down(0)
	}

	p.reasons()
	p.restorePostponed()

	return p.placed, p.why
}

type planner struct {
	view      *View
	open      []*Worker       // had a free slot when the plan began
	pools     map[Class]*pool // by class without Avoid
	shared    map[poolKey]*pool
	possible  map[Class]bool // see isPossible
	byID      map[pipeline.NodeID]*Worker
	postponed []postponed
	placed    []Placement
	why       []Explanation
}

// placeOne places the first module of the run that fits a worker. If there is
// none, it explains all classes of the run and reports false.
func (p *planner) placeOne(r *Run) bool {
	best, where := p.overdue(r)
	first := best != nil

	for _, q := range r.queues {
		if first {
			break
		}
		if q.limit.full() || best != nil && !q.modules[0].before(best.modules[0]) {
			continue
		}
		if w := p.free(q.class); w != nil {
			best, where = q, w
		}
	}

	if best == nil {
		for _, q := range r.queues {
			if q.limit.full() {
				p.why = append(p.why, Explanation{Run: r.ID, Limit: q.limit, Why: AtLimit})
				continue
			}
			p.explain(r, q.class, 0) // see reasons
		}
		return false
	}

	var gain int64
	if m := best.modules[0].module; m.Inputs != nil {
		local, n, wait := p.chooseLocal(m, where, !first)
		if wait {
			p.postpone(r, best, local)
			return true
		}
		where, gain = local, n
	}

	best.since = p.view.Now
	m := r.pop(best)
	where.Take(m.Class)
	r.Running++
	if best.limit != nil {
		best.limit.Running++
	}
	if r.Submitter != nil {
		r.Submitter.Running++
	}
	p.placed = append(p.placed, Placement{Run: r.ID, Module: m, Worker: where.ID, WorkerName: where.Name, LocalBytes: gain})

	return true
}

// Take reserves on a worker what a module of the class needs.
func (w *Worker) Take(c Class) {
	w.Used++
	w.UsedCPU += c.CPU
	w.UsedMemory += c.Memory
}

// Leave releases what Take reserved.
func (w *Worker) Leave(c Class) {
	w.Used--
	w.UsedCPU -= c.CPU
	w.UsedMemory -= c.Memory
}

// hasCapacity reports whether a worker has a free slot, and the processors and
// the memory that a class reserves.
func (w *Worker) hasCapacity(c Class) bool {
	return w.Used < w.Slots && w.enoughResources(c)
}

func (w *Worker) enoughResources(c Class) bool {
	return (c.CPU == 0 || w.UsedCPU+c.CPU <= w.CPU) && (c.Memory == 0 || w.UsedMemory+c.Memory <= w.Memory)
}

func (p *planner) explain(r *Run, c Class, why Why) {
	p.why = append(p.why, Explanation{Run: r.ID, Class: c, Why: why})
}

// reasons fills in why the classes without a worker wait. It looks at the workers
// as they are at the end of the plan, so that the reasons agree with each other.
func (p *planner) reasons() {
	known := map[Class]Why{}

	for i := range p.why {
		e := &p.why[i]
		if e.Why != 0 {
			continue
		}

		c := e.Class
		c.Avoid, c.Alone = "", false

		why, ok := known[c]
		if !ok {
			why = p.reason(c)
			known[c] = why
		}

		e.Why = why
	}
}

func (p *planner) reason(c Class) Why {
	why := NoWorker
	plain := c.CPU == 0 && c.Memory == 0 && p.view.Reservation == nil

	for _, w := range p.view.Workers {
		switch {
		case !Fits(w, c):
		case plain:
			return NoSlot // without any reservation, only slots can be missing
		case !w.Closed && w.hasCapacity(c):
			return Reserved
		case !w.Closed && w.Used < w.Slots:
			why = NoCapacity
		case why == NoWorker:
			why = NoSlot
		}
	}

	return why
}

// Fits reports whether a worker has what a class requires, whatever its load.
func Fits(w *Worker, c Class) bool {
	return able(w, c) && c.CPU <= w.CPU && c.Memory <= w.Memory
}

// FitsButFor reports whether a worker has what a class requires but for the
// processors or the memory.
func FitsButFor(w *Worker, c Class) bool { return able(w, c) && !Fits(w, c) }

// able is Fits without resources.
func able(w *Worker, c Class) bool {
	if c.Pin != "" && c.Pin != w.ID || w.Slots <= 0 {
		return false
	}

	if c.OS != "" && c.OS != strings.ToLower(w.OS) || c.Arch != "" && c.Arch != strings.ToLower(w.Arch) {
		return false
	}

	if w.NoSecrets && c.Private || c.Pipeline != "" && !pipeline.Admits(w.Pipelines, c.Pipeline) {
		return false
	}

	if w.External && c.Pin == "" && !anyIn(c.Tags, w.Tags) {
		return false
	}

	if c.Engine && !w.Engine {
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
