package scheduler_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

var update = flag.Bool("update", false, "write the traces in testdata anew")

// TestPlan_traces plays whole runs and compares every plan with the trace in
// testdata. A change of a trace is a change of behaviour: look at it before
// writing it anew with -update.
func TestPlan_traces(t *testing.T) {
	for name, play := range map[string]func(*stage){
		"fair-share": playFairShare, "critical-path": playCriticalPath, "requirements": playRequirements,
		"limit": playLimit, "retry-elsewhere": playRetry, "worker-leaves": playWorkerLeaves,
		"durations": playDurations, "locality": playLocality,
	} {
		t.Run(name, func(t *testing.T) {
			s := &stage{tb: t}
			play(s)
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(s.trace.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}

			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}

			if diff := cmp.Diff(string(want), s.trace.String()); diff != "" {
				t.Errorf("the trace has changed (-want +got):\n%s", diff)
			}
		})
	}
}

// stage plays the orchestrator's part: modules become ready when what they
// need is done, and the module that was placed first is done first.
type stage struct {
	tb      testing.TB
	trace   strings.Builder
	view    scheduler.View
	runs    map[pipeline.RunID]*actor
	onStage []scheduler.Placement
	// expected is how long the modules of the next run take; nil is not known.
	expected []time.Duration
}

// actor is a run on the stage.
type actor struct {
	queue *scheduler.Run
	def   *pipeline.Pipeline
	ranks []int
	done  map[string]bool
	added map[string]bool
}

func (s *stage) worker(w *scheduler.Worker) {
	s.view.Workers = append(s.view.Workers, w)
	fmt.Fprintf(&s.trace, "worker %s, %d slots\n", w.ID, w.Slots)
}

// submit adds a run; each module is "name", "name<need,need" or either with
// "#tag" behind it.
func (s *stage) submit(r *scheduler.Run, modules ...string) {
	p := &pipeline.Pipeline{}
	for _, m := range modules {
		m, tag, _ := strings.Cut(m, "#")
		name, needs, _ := strings.Cut(m, "<")
		mod := pipeline.Module{Name: name}
		if needs != "" {
			mod.DependsOn = strings.Split(needs, ",")
		}

		if tag != "" {
			mod.Requires.Tags = []string{tag}
		}

		p.Modules = append(p.Modules, mod)
	}

	if s.runs == nil {
		s.runs = map[pipeline.RunID]*actor{}
	}

	a := &actor{queue: r, def: p, ranks: scheduler.Ranks(p, s.expected), done: map[string]bool{}, added: map[string]bool{}}
	s.runs[r.ID] = a
	s.view.Runs = append(s.view.Runs, r)
	fmt.Fprintf(&s.trace, "run %s: %s\n", r.ID, strings.Join(modules, " "))
	a.makeReady()
}

func (a *actor) makeReady() {
	for i := range a.def.Modules {
		m := &a.def.Modules[i]
		ready := !a.added[m.Name]
		for _, d := range m.DependsOn {
			ready = ready && a.done[d]
		}
		if ready {
			a.added[m.Name] = true
			a.queue.Add(&scheduler.Module{Name: m.Name, Rank: a.ranks[i], Order: i, Class: scheduler.ClassOf(m.Requires, m.Resources, "")})
		}
	}
}

func (s *stage) plan() {
	placed, why := scheduler.Plan(&s.view)
	s.trace.WriteString("plan\n")
	for _, p := range placed {
		fmt.Fprintf(&s.trace, "  %s/%s (rank %d) on %s\n", p.Run, p.Module.Name, p.Module.Rank, p.Worker)
	}
	for _, e := range why {
		fmt.Fprintf(&s.trace, "  waits: %s\n", explained(e))
	}
	s.onStage = append(s.onStage, placed...)
}

// leave removes the oldest placement from its worker.
func (s *stage) leave() scheduler.Placement {
	if len(s.onStage) == 0 {
		s.tb.Fatal("nothing runs that could end")
	}

	p := s.onStage[0]
	s.onStage = s.onStage[1:]
	s.runs[p.Run].queue.Running--

	for _, w := range s.view.Workers {
		if w.ID == p.Worker {
			w.Used--
		}
	}

	return p
}

// end ends the n oldest modules well.
func (s *stage) end(n int) {
	for range n {
		p := s.leave()
		fmt.Fprintf(&s.trace, "done %s/%s\n", p.Run, p.Module.Name)
		a := s.runs[p.Run]
		a.done[p.Module.Name] = true
		a.makeReady()
	}
}

// lose makes the oldest module ready again, to be kept from its worker.
func (s *stage) lose() {
	p := s.leave()
	fmt.Fprintf(&s.trace, "lost %s/%s on %s\n", p.Run, p.Module.Name, p.Worker)
	m := *p.Module
	m.Class.Avoid = p.Worker
	s.runs[p.Run].queue.Add(&m)
}

// all plans, and finishes one module at a time until nothing runs.
func (s *stage) all() {
	for s.plan(); len(s.onStage) > 0; s.plan() {
		s.end(1)
	}
}

func playFairShare(s *stage) {
	s.worker(worker("w1", 2))
	s.worker(worker("w2", 2))
	s.submit(run("big", 1, 0), "a", "b", "c", "d", "e", "f")
	s.plan()
	s.submit(run("small", 2, 0), "x", "y")
	s.submit(priority(run("urgent", 3, 0), 1), "u")
	s.end(2)
	s.all()
}

func playCriticalPath(s *stage) {
	s.worker(worker("w1", 2))
	s.submit(run("r", 1, 0), "lint", "fetch", "build<fetch", "unit<build", "e2e<build", "ship<unit,e2e")
	s.all()
}

// playDurations: a single long module goes before a chain of short ones.
func playDurations(s *stage) {
	s.worker(worker("w1", 1))
	s.expected = []time.Duration{time.Second, time.Second, time.Second, time.Minute}
	s.submit(&scheduler.Run{ID: "r", Number: 1}, "a", "b<a", "c<b", "long")
	s.all()
}

// playLocality: who has the bytes goes before who has less to do, a slot there is
// waited for if that is sooner than moving them, and small inputs do not count.
func playLocality(s *stage) {
	busy := used(worker("has", 2), 1)
	s.worker(busy)
	s.worker(worker("idle", 4))
	r := run("r", 1, 0)
	s.submit(r)
	ready := func(name string, megabytes int64, freeIn time.Duration) {
		busy.FreeIn = freeIn
		in := &scheduler.Inputs{Bytes: megabytes << 20, Held: []scheduler.Held{{Worker: "has", Bytes: megabytes << 20}}}
		fmt.Fprintf(&s.trace, "ready: %s, %d MiB on has, which has %d of %d slots in use and one free in %s\n", name, megabytes, busy.Used, busy.Slots, freeIn)
		r.Add(&scheduler.Module{Name: name, Class: class(), Inputs: in})
		s.plan()

		for _, n := range s.view.LocalityWaits {
			fmt.Fprintf(&s.trace, "  waits: %s/%s for a slot of %s\n", n.Run, n.Module, n.Worker.ID)
		}

		r.Clear()
		s.view.LocalityWaits = nil
	}

	ready("small", 1, 0)
	ready("large", 500, 0)
	ready("soon", 500, 2*time.Second)
	ready("late", 500, 9*time.Second)
	ready("unknown", 500, 0)
}

func playRequirements(s *stage) {
	ext := worker("ext-1", 4, "gpu")
	ext.External = true
	s.worker(worker("w1", 1))
	s.worker(ext)
	s.submit(run("r", 1, 0), "plain", "train#gpu", "sign#vault", "after<train", "tune#gpu")
	s.all()
}

func playLimit(s *stage) {
	s.worker(worker("w1", 8))
	s.submit(limit(run("two", 1, 0), 2), "a", "b", "c", "d<a")
	s.submit(run("free", 2, 0), "x", "y", "z")
	s.all()
}

func playRetry(s *stage) {
	s.worker(worker("w1", 1))
	s.worker(worker("w2", 1))
	s.submit(run("r", 1, 0), "a", "b")
	s.plan()
	s.lose()
	s.plan() // w1 is free, and nothing else
	s.lose()
	s.lose()
	s.all()
}

func playWorkerLeaves(s *stage) {
	w1, w2 := worker("w1", 2), worker("w2", 2)
	s.worker(w1)
	s.worker(w2)
	s.submit(run("r", 1, 0), "a", "b", "c", "d", "e", "f")
	s.plan()
	w2.Closed = true
	s.end(2)
	s.plan()
	w1.Closed = true
	s.end(2)
	s.plan()
	w1.Closed, w2.Closed = false, false
	s.all()
}
