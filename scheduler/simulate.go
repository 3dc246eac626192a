package scheduler

import (
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Guess replaces unknown durations (0) by the mean of the known ones; nil if none
// is known.
func Guess(expected []time.Duration) []time.Duration {
	var sum time.Duration
	n := 0

	for _, d := range expected {
		if d > 0 {
			sum += d
			n++
		}
	}

	if n == 0 {
		return nil
	}

	out := make([]time.Duration, len(expected))

	for i, d := range expected {
		if out[i] = d; d <= 0 {
			out[i] = sum / time.Duration(n)
		}
	}

	return out
}

// Simulated is when and on which worker a module would run. Worker is "" for
// modules that need none: approvals and skipped modules.
type Simulated struct {
	Worker     string
	Start, End time.Duration
	// Skipped modules do not run: they are disabled, or a dependency is skipped.
	Skipped bool
	// Stuck modules would not start on these workers, or depend on one that would
	// not.
	Stuck bool
}

// Simulate simulates a run on workers, without failures, each module with its
// expected duration. classes[i] decides where module i may run. The workers are
// changed. Approvals have no duration.
func Simulate(p *pipeline.Pipeline, expected []time.Duration, classes []Class, workers []*Worker) []Simulated {
	s := &simulation{p: p, expected: expected, classes: classes, out: make([]Simulated, len(p.Modules)), held: map[string][]int{}, limits: map[string]*Limit{},
		workers: map[pipeline.NodeID]*Worker{}, index: make(map[string]int, len(p.Modules))}
	s.run.ID, s.run.MaxParallel = "simulated", p.MaxParallel
	s.ranks = Ranks(p, expected)

	for _, w := range workers {
		s.workers[w.ID] = w
	}

	for i := range p.Modules {
		s.index[p.Modules[i].Name], s.out[i].Stuck = i, true
	}

	s.waits = make([]int, len(p.Modules))
	s.dependents = make([][]int, len(p.Modules))

	for i := range p.Modules {
		for _, d := range p.Modules[i].DependsOn {
			if j, ok := s.index[d]; ok {
				s.waits[i]++
				s.dependents[j] = append(s.dependents[j], i)
			}
		}
	}

	for i, n := range s.waits {
		if n == 0 {
			s.open = append(s.open, i)
		}
	}

	s.play(workers)

	return s.out
}

type simulation struct {
	p          *pipeline.Pipeline
	expected   []time.Duration
	classes    []Class
	ranks      []int
	index      map[string]int
	waits      []int
	dependents [][]int
	workers    map[pipeline.NodeID]*Worker
	run        Run
	out        []Simulated
	now        time.Duration
	// open modules wait for nothing except perhaps locks (see held).
	open []int
	// held has, by key, the limits of its holders.
	held map[string][]int
	// limits are those of the blocks with MaxParallel, by name.
	limits map[string]*Limit
	ends   minHeap[simulatedEnd]
}

// simulatedEnd is a module that runs; worker is nil for one that runs a pipeline.
type simulatedEnd struct {
	at     time.Duration
	module int
	worker *Worker
}

func (e simulatedEnd) before(o simulatedEnd) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	return e.module < o.module
}

func (s *simulation) play(workers []*Worker) {
	for {
		s.offer()

		placed, _ := Plan(&View{Runs: []*Run{&s.run}, Workers: workers})
		for _, x := range placed {
			i := x.Module.Order
			s.out[i] = Simulated{Worker: x.WorkerName, Start: s.now, End: s.now + s.expected[i]}
			s.ends.push(simulatedEnd{s.out[i].End, i, s.workers[x.Worker]})
		}

		if len(s.ends) == 0 {
			return
		}

		for s.now = s.ends[0].at; len(s.ends) > 0 && s.ends[0].at == s.now; {
			e := s.ends.pop()
			if l := s.limit(&s.p.Modules[e.module]); l != nil {
				l.Running--
			}
			if e.worker == nil {
				s.done(e.module)
				continue
			}
			e.worker.Leave(s.classes[e.module])
			s.run.Running--
			for _, key := range s.p.Modules[e.module].Locks {
				limits := s.held[key]
				at := slices.Index(limits, s.p.Modules[e.module].LockLimit(key))
				s.held[key] = slices.Delete(limits, at, at+1)
			}
			s.done(e.module)
		}
	}
}

// offer makes open modules ready if their locks are free, and begins pipelines that their
// limit allows.
func (s *simulation) offer() {
	var locked []int

	for n := 0; n < len(s.open); n++ { // done opens more
		i := s.open[n]
		m := &s.p.Modules[i]
		switch {
		case s.skipped(m) || m.Approval != nil:
			s.out[i] = Simulated{Start: s.now, End: s.now, Skipped: s.skipped(m)}
			s.done(i)
		case m.Child != nil && s.limit(m).full():
			locked = append(locked, i)
		case m.Child != nil: // it takes no slot
			if l := s.limit(m); l != nil {
				l.Running++
			}
			s.out[i] = Simulated{Start: s.now, End: s.now + s.expected[i]}
			s.ends.push(simulatedEnd{s.out[i].End, i, nil})
		case s.locked(m):
			locked = append(locked, i)
		default:
			for _, key := range m.Locks {
				s.held[key] = append(s.held[key], m.LockLimit(key))
			}
			s.run.Add(&Module{Name: m.Name, Rank: s.ranks[i], Order: i, Class: s.classes[i], Priority: m.Priority, Limit: s.limit(m)})
		}
	}

	s.open = locked
}

func (s *simulation) skipped(m *pipeline.Module) bool {
	if m.Skip != "" {
		return true
	}
	return m.SkippedWithDependency() && slices.ContainsFunc(m.DependsOn, func(d string) bool {
		j, ok := s.index[d]
		return ok && s.out[j].Skipped
	})
}

// limit is what bounds the instances of a module's block; nil if nothing does.
func (s *simulation) limit(m *pipeline.Module) *Limit {
	if m.MaxParallel > 0 && s.limits[m.Block()] == nil {
		s.limits[m.Block()] = &Limit{Max: m.MaxParallel}
	}
	return s.limits[m.Block()]
}

func (s *simulation) locked(m *pipeline.Module) bool {
	for _, key := range m.Locks {
		if !pipeline.LockAdmits(s.held[key], m.LockLimit(key)) {
			return true
		}
	}
	return false
}

func (s *simulation) done(i int) {
	for _, d := range s.dependents[i] {
		if s.waits[d]--; s.waits[d] == 0 {
			s.open = append(s.open, d)
		}
	}
}

// LongestPath returns the chain of modules with the longest total duration, as
// indexes into the pipeline, and that duration.
func LongestPath(p *pipeline.Pipeline, expected []time.Duration) (path []int, length time.Duration) {
	ranks := Ranks(p, expected)

	dependents := make(map[string][]int, len(p.Modules))

	for i := range p.Modules {
		for _, d := range p.Modules[i].DependsOn {
			dependents[d] = append(dependents[d], i)
		}
	}

	best := func(list []int) int {
		at := -1
		for _, i := range list {
			if at < 0 || ranks[i] > ranks[at] {
				at = i
			}
		}
		return at
	}

	all := make([]int, len(ranks))

	for i := range all {
		all[i] = i
	}

	for at := best(all); at >= 0 && len(path) < len(all); at = best(dependents[p.Modules[at].Name]) {
		path = append(path, at)
		length += expected[at]
	}

	return path, length
}
