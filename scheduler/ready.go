package scheduler

import (
	"math"
	"sort"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Class is what decides which workers can run a module. Modules with equal
// classes are interchangeable for placement.
type Class struct {
	// OS, Arch, Tools, Tags are lower-case; Tools and Tags are sorted and
	// joined with a zero byte.
	OS, Arch    string
	Tools, Tags string
	// Pin restricts the class to one worker.
	Pin pipeline.NodeID
	// Avoid is a worker to use only if no other has a free slot: the one that lost
	// the previous attempt.
	Avoid pipeline.NodeID
	// CPU (in thousandths of a processor) and Memory (in bytes) are reserved on
	// the worker while the module runs.
	CPU, Memory int64
	// Alone modules are never queued behind a running attempt: they hold locks, and
	// must not hold them while they wait.
	Alone bool
	// Private modules receive secrets. They go to no worker with NoSecrets, and are not queued behind a running attempt: their secrets
	// must exist at the moment they start.
	Private bool
	// Engine classes need a container engine.
	Engine bool
	// Pipeline is the name of the module's pipeline. It is set only where it matters,
	// which is for modules that an external worker may get.
	Pipeline string
}

// ClassOf returns the class of a module: its requirements and reservations.
func ClassOf(r pipeline.Requires, res pipeline.Resources, pin pipeline.NodeID) Class {
	return Class{OS: strings.ToLower(r.OS), Arch: strings.ToLower(r.Arch), Tools: joined(r.Tools), Tags: joined(r.Tags), Engine: r.Engine, Pin: pin,
		CPU: Thousandths(res.CPU), Memory: max(0, res.Memory)}
}

// Thousandths converts a number of processors to the planner's unit.
func Thousandths(cpu float64) int64 { return int64(math.Round(max(0, min(cpu, 1e9)) * 1000)) }

// Within reports whether a module of this class needs no more of a worker than
// one of the other.
func (c Class) Within(o Class) bool { return c.CPU <= o.CPU && c.Memory <= o.Memory }

func joined(s []string) string {
	if len(s) == 0 {
		return ""
	}

	l := make([]string, len(s))

	for i := range s {
		l[i] = strings.ToLower(s[i])
	}

	sort.Strings(l)
	return strings.Join(l, "\x00")
}

// Module is a ready module. Rank is the length of the longest path that starts
// at it, Order its index in the source. Of the ready modules of a run the
// highest Priority is first, then the highest Rank, then the lowest Order.
type Module struct {
	Name     string
	Priority int
	Rank     int
	Order    int
	Class    Class
	// Inputs is nil if they are too small to count.
	Inputs *Inputs
	// Limit is shared by the modules of the run that it bounds together; nil if there
	// is none. A module with a limit is never queued behind a running attempt.
	Limit *Limit
	// postponedSince is since when it waits for a worker that has them; set by Plan.
	postponedSince time.Time
}

// Run is the ready modules of one run and what bounds them. The zero Run with
// an ID is empty and ready to use.
type Run struct {
	ID pipeline.RunID
	// Submitter is whose run it is. Runs share one; runs without one share one, too.
	Submitter *Submitter
	// Number orders runs by age.
	Number uint64
	// Priority orders the runs of a submitter: higher goes first.
	Priority int
	// Running is how many modules of the run are assigned or running.
	Running int
	// MaxParallel bounds Running; 0 means no bound.
	MaxParallel int

	queues []*queue
	// byClass finds the queues without a limit, limited the others: most runs have none,
	// and a key with more in it is slower to find.
	byClass map[Class]*queue
	limited map[queueKey]*queue
	n       int
}

// Limit bounds how many modules run at once.
type Limit struct {
	// Max is at least 1. Running counts those that are assigned or running.
	Max, Running int
}

func (l *Limit) full() bool { return l != nil && l.Running >= l.Max }

// queueKey is what the modules of a queue have in common.
type queueKey struct {
	class Class
	limit *Limit
}

// queue is the ready modules of a run that have the same class and limit.
type queue struct {
	queueKey
	// since is when something of it was last placed, or became ready; set by Plan.
	since   time.Time
	modules minHeap[ready]
}

// ready is a module with the key of its place, so that ordering touches no
// other memory.
type ready struct {
	priority, rank, order int
	module                *Module
}

// before says which of two modules of a run goes first.
func (a ready) before(b ready) bool {
	if a.priority != b.priority {
		return a.priority > b.priority
	}

	if a.rank != b.rank {
		return a.rank > b.rank
	}
	return a.order < b.order
}

// Add makes a module ready. The caller adds a module once and must not change it
// afterwards.
func (r *Run) Add(m *Module) {
	q := r.queueOf(m)
	if q == nil {
		q = &queue{queueKey: queueKey{m.Class, m.Limit}}
		r.addQueue(q)
	}

	q.modules.push(ready{m.Priority, m.Rank, m.Order, m})
	r.n++
}

// Top is the highest priority among the ready modules; 0 if there is none.
func (r *Run) Top() int {
	top, any := 0, false

	for _, q := range r.queues {
		if p := q.modules[0].priority; !any || p > top {
			top, any = p, true
		}
	}
	return top
}

// Len is the number of ready modules.
func (r *Run) Len() int { return r.n }

// Next removes and returns the first ready module whose class fits; nil if there
// is none. It is for modules that are queued behind a running attempt: counters
// do not change.
func (r *Run) Next(fits func(Class) bool) *Module {
	var best *queue

	for _, q := range r.queues {
		if q.limit == nil && (best == nil || q.modules[0].before(best.modules[0])) && fits(q.class) {
			best = q
		}
	}

	if best == nil {
		return nil
	}

	best.since = time.Time{}

	return r.pop(best)
}

// stamp records since when new classes wait.
func (r *Run) stamp(now time.Time) {
	for _, q := range r.queues {
		if q.since.IsZero() {
			q.since = now
		}
	}
}

// Clear removes all ready modules.
func (r *Run) Clear() { r.queues, r.byClass, r.limited, r.n = nil, nil, nil, 0 }

// queueOf is the queue for a module; nil if there is none yet.
func (r *Run) queueOf(m *Module) *queue {
	if m.Limit != nil {
		return r.limited[queueKey{m.Class, m.Limit}]
	}
	return r.byClass[m.Class]
}

func (r *Run) addQueue(q *queue) {
	r.queues = append(r.queues, q)
	switch {
	case q.limit != nil && r.limited == nil:
		r.limited = map[queueKey]*queue{q.queueKey: q}
	case q.limit != nil:
		r.limited[q.queueKey] = q
	case r.byClass == nil:
		r.byClass = map[Class]*queue{q.class: q}
	default:
		r.byClass[q.class] = q
	}
}

// full reports whether MaxParallel allows nothing more.
func (r *Run) full() bool { return r.MaxParallel > 0 && r.Running >= r.MaxParallel }

func (r *Run) pop(q *queue) *Module {
	r.n--
	m := q.modules.pop().module
	if len(q.modules) == 0 {
		if q.limit != nil {
			delete(r.limited, q.queueKey)
		} else {
			delete(r.byClass, q.class)
		}
		for i := range r.queues {
			if r.queues[i] == q {
				r.queues = append(r.queues[:i], r.queues[i+1:]...)
				break
			}
		}
	}

	return m
}
