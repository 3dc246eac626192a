package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// scene is what a view is made of, so that the same view can be made twice.
type scene struct {
	Workers []scheduler.Worker
	Runs    []sceneRun
}

type sceneRun struct {
	Head    scheduler.Run
	Modules []scheduler.Module
}

// build makes a fresh view; shuffle, where it is not nil, mixes the order of
// the input.
func (s *scene) build(shuffle *rand.Rand) *scheduler.View {
	v := &scheduler.View{}
	for i := range s.Workers {
		w := s.Workers[i]
		v.Workers = append(v.Workers, &w)
	}
	for i := range s.Runs {
		h := &s.Runs[i].Head
		r := &scheduler.Run{ID: h.ID, Number: h.Number, Priority: h.Priority, Running: h.Running, MaxParallel: h.MaxParallel}
		mods := slices.Clone(s.Runs[i].Modules)
		if shuffle != nil {
			shuffle.Shuffle(len(mods), func(i, j int) { mods[i], mods[j] = mods[j], mods[i] })
		}
		for j := range mods {
			r.Add(&mods[j])
		}
		v.Runs = append(v.Runs, r)
	}
	if shuffle != nil {
		shuffle.Shuffle(len(v.Workers), func(i, j int) { v.Workers[i], v.Workers[j] = v.Workers[j], v.Workers[i] })
		shuffle.Shuffle(len(v.Runs), func(i, j int) { v.Runs[i], v.Runs[j] = v.Runs[j], v.Runs[i] })
	}
	return v
}

var tagSets = [][]string{nil, nil, {"gpu"}, {"big"}, {"big", "gpu"}}

func drawScene(t *rapid.T) *scene {
	s := &scene{}
	tags := rapid.SampledFrom(tagSets)
	for i := range rapid.IntRange(0, 5).Draw(t, "workers") {
		w := scheduler.Worker{ID: pipeline.NodeID(fmt.Sprintf("w%d", i)), Slots: rapid.IntRange(0, 4).Draw(t, "slots"), Tags: map[string]bool{},
			OS: rapid.SampledFrom([]string{"linux", "darwin"}).Draw(t, "os")}
		w.Used = rapid.IntRange(0, w.Slots+1).Draw(t, "used")
		w.Closed = rapid.IntRange(0, 4).Draw(t, "closed") == 0
		w.Outside = rapid.IntRange(0, 3).Draw(t, "outside") == 0
		for _, tag := range tags.Draw(t, "has") {
			w.Tags[tag] = true
		}
		s.Workers = append(s.Workers, w)
	}
	someone := rapid.SampledFrom([]pipeline.NodeID{"", "", "", "w0", "w1", "w2", "w9"})
	for i := range rapid.IntRange(0, 6).Draw(t, "runs") {
		r := sceneRun{Head: scheduler.Run{ID: pipeline.RunID(fmt.Sprintf("r%d", i)), Number: uint64(rapid.IntRange(1, 2).Draw(t, "number")),
			Priority: rapid.IntRange(0, 1).Draw(t, "priority"), Running: rapid.IntRange(0, 2).Draw(t, "running"),
			MaxParallel: rapid.IntRange(0, 5).Draw(t, "max")}}
		pin := someone.Draw(t, "pin")
		for j := range rapid.IntRange(0, 8).Draw(t, "modules") {
			c := scheduler.ClassOf(pipeline.Requires{Tags: tags.Draw(t, "wants"),
				OS: rapid.SampledFrom([]string{"", "", "linux", "darwin"}).Draw(t, "wants os")}, pin)
			c.Avoid = someone.Draw(t, "avoid")
			r.Modules = append(r.Modules, scheduler.Module{Name: fmt.Sprintf("m%d", j), Rank: rapid.IntRange(1, 3).Draw(t, "rank"), Order: j, Class: c})
		}
		s.Runs = append(s.Runs, r)
	}
	return s
}

func TestPlan_properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		placed, why := scheduler.Plan(s.build(nil))
		if err := newReferee(s).check(placed, why); err != nil {
			t.Fatal(err)
		}
	})
}

// TestPlan_order: the plan does not depend on the order of workers, runs and
// modules in the view.
func TestPlan_order(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		seed := rapid.Uint64().Draw(t, "seed")
		placed, why := scheduler.Plan(s.build(nil))
		placed2, why2 := scheduler.Plan(s.build(rand.New(rand.NewPCG(seed, 1))))
		if diff := cmp.Diff(placed, placed2); diff != "" {
			t.Fatalf("another order, another plan:\n%s", diff)
		}
		if diff := cmp.Diff(sorted(why), sorted(why2)); diff != "" {
			t.Fatalf("another order, other explanations:\n%s", diff)
		}
	})
}

func sorted(why []scheduler.Explanation) []string {
	var out []string
	for _, e := range why {
		out = append(out, fmt.Sprintf("%+v", e))
	}
	sort.Strings(out)
	return out
}

// referee replays a plan placement by placement and holds each against the
// rules, as plainly as they can be written.
type referee struct {
	workers map[pipeline.NodeID]*scheduler.Worker
	runs    map[pipeline.RunID]*scheduler.Run
	ready   map[pipeline.RunID][]scheduler.Module
}

func newReferee(s *scene) *referee {
	f := &referee{workers: map[pipeline.NodeID]*scheduler.Worker{}, runs: map[pipeline.RunID]*scheduler.Run{}, ready: map[pipeline.RunID][]scheduler.Module{}}
	v := s.build(nil)
	for _, w := range v.Workers {
		f.workers[w.ID] = w
	}
	for i, r := range v.Runs {
		f.runs[r.ID], f.ready[r.ID] = r, slices.Clone(s.Runs[i].Modules)
	}
	return f
}

func (f *referee) check(placed []scheduler.Placement, why []scheduler.Explanation) error {
	for i, p := range placed {
		if err := f.place(p); err != nil {
			return fmt.Errorf("placement %d, %s/%s on %s: %w", i, p.Run, p.Module.Name, p.Worker, err)
		}
	}
	return f.rest(why)
}

func (f *referee) place(p scheduler.Placement) error {
	r, w := f.runs[p.Run], f.workers[p.Worker]
	at := slices.IndexFunc(f.ready[p.Run], func(m scheduler.Module) bool { return m.Name == p.Module.Name })
	if r == nil || w == nil || at < 0 {
		return fmt.Errorf("no such run or worker, or the module is not ready")
	}
	m := f.ready[p.Run][at]
	switch {
	case w.Used >= w.Slots:
		return fmt.Errorf("%d of %d slots are used", w.Used, w.Slots)
	case w.Closed:
		return fmt.Errorf("it is closed")
	case !f.mayTake(w, m.Class):
		return fmt.Errorf("it lacks what %+v asks for", m.Class)
	case f.full(r):
		return fmt.Errorf("%d run, at most %d may", r.Running, r.MaxParallel)
	}
	for _, o := range f.workers {
		switch {
		case o.ID == w.ID || !f.hasRoom(o, m.Class):
		case w.ID == m.Class.Avoid:
			return fmt.Errorf("it is to be avoided, and %s is free", o.ID)
		case o.ID != m.Class.Avoid && o.Used*w.Slots < w.Used*o.Slots:
			return fmt.Errorf("%s is less loaded", o.ID)
		}
	}
	for i, o := range f.ready[p.Run] {
		if f.anywhere(o.Class) && (o.Rank > m.Rank || o.Rank == m.Rank && o.Order < m.Order) {
			return fmt.Errorf("%s has a longer path or stands first", f.ready[p.Run][i].Name)
		}
	}
	for _, o := range f.runs {
		if o.ID != r.ID && f.canGo(o) && earlier(o, r) {
			return fmt.Errorf("it was the turn of %s", o.ID)
		}
	}
	w.Used++
	r.Running++
	f.ready[p.Run] = slices.Delete(f.ready[p.Run], at, at+1)
	return nil
}

// rest looks at what was not placed.
func (f *referee) rest(why []scheduler.Explanation) error {
	said := map[string]scheduler.Why{}
	for _, e := range why {
		if e.Class.Pin != "" || e.Why != scheduler.AtLimit {
			if !slices.ContainsFunc(f.ready[e.Run], func(m scheduler.Module) bool { return m.Class == e.Class }) {
				return fmt.Errorf("%+v is about nothing that waits", e)
			}
		}
		said[fmt.Sprintf("%s %+v", e.Run, e.Class)] = e.Why
	}
	for id, mods := range f.ready {
		r := f.runs[id]
		if len(mods) > 0 && f.full(r) {
			if got := said[fmt.Sprintf("%s %+v", id, scheduler.Class{})]; got != scheduler.AtLimit {
				return fmt.Errorf("run %s is at its limit, and the explanation is %d", id, got)
			}
			continue
		}
		for _, m := range mods {
			if f.anywhere(m.Class) {
				return fmt.Errorf("%s/%s waits, and there is room for it", id, m.Name)
			}
			want := scheduler.NoWorker
			for _, w := range f.workers {
				if f.mayTake(w, m.Class) {
					want = scheduler.NoSlot
				}
			}
			if got := said[fmt.Sprintf("%s %+v", id, m.Class)]; got != want {
				return fmt.Errorf("%s/%s waits, and the explanation is %d, want %d", id, m.Name, got, want)
			}
		}
	}
	return nil
}

// mayTake is Fits, written again.
func (f *referee) mayTake(w *scheduler.Worker, c scheduler.Class) bool {
	if w.Slots < 1 || c.OS != "" && c.OS != w.OS {
		return false
	}
	tags := map[string]bool{}
	for _, tag := range []string{"gpu", "big"} {
		if c.Tags == tag || c.Tags == "big\x00gpu" {
			tags[tag] = true
			if !w.Tags[tag] {
				return false
			}
		}
	}
	if c.Pin != "" {
		return c.Pin == w.ID
	}
	return !w.Outside || len(tags) > 0
}

func (f *referee) hasRoom(w *scheduler.Worker, c scheduler.Class) bool {
	return !w.Closed && w.Used < w.Slots && f.mayTake(w, c)
}

func (f *referee) anywhere(c scheduler.Class) bool {
	for _, w := range f.workers {
		if f.hasRoom(w, c) {
			return true
		}
	}
	return false
}

func (f *referee) full(r *scheduler.Run) bool { return r.MaxParallel > 0 && r.Running >= r.MaxParallel }

func (f *referee) canGo(r *scheduler.Run) bool {
	return !f.full(r) && slices.ContainsFunc(f.ready[r.ID], func(m scheduler.Module) bool { return f.anywhere(m.Class) })
}

// earlier says whose turn it is: priority, fewest running, age, id.
func earlier(a, b *scheduler.Run) bool {
	for _, d := range []int{b.Priority - a.Priority, a.Running - b.Running, int(a.Number) - int(b.Number)} {
		if d != 0 {
			return d < 0
		}
	}
	return a.ID < b.ID
}
