package scheduler_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// scene is what a view is made of, so that the same view can be made twice.
type scene struct {
	Workers []scheduler.Worker
	Runs    []sceneRun
	// AgingInterval is View's.
	AgingInterval time.Duration
}

type sceneRun struct {
	Head    scheduler.Run
	Modules []scheduler.Module
	// Waits is for how long the class of each module has waited; the first of a
	// class counts.
	Waits []time.Duration
}

// build makes a fresh view; shuffle, if it is not nil, changes the order of the
// input.
func (s *scene) build(shuffle *rand.Rand) *scheduler.View {
	v := &scheduler.View{Now: time.Unix(1000, 0), AgingInterval: s.AgingInterval}
	for i := range s.Workers {
		w := s.Workers[i]
		v.Workers = append(v.Workers, &w)
	}

	for i := range s.Runs {
		h := &s.Runs[i].Head
		r := &scheduler.Run{ID: h.ID, Number: h.Number, Priority: h.Priority, Running: h.Running, MaxParallel: h.MaxParallel}

		mods := slices.Clone(s.Runs[i].Modules)
		waits := map[scheduler.Class]time.Duration{}
		for j := range mods {
			if _, ok := waits[mods[j].Class]; !ok {
				waits[mods[j].Class] = s.Runs[i].Waits[j]
			}
		}

		if shuffle != nil {
			shuffle.Shuffle(len(mods), func(i, j int) { mods[i], mods[j] = mods[j], mods[i] })
		}

		for j := range mods {
			r.Add(&mods[j])
		}
		for c, d := range waits {
			r.Waited(c, v.Now.Add(-d))
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
	s := &scene{AgingInterval: time.Duration(rapid.IntRange(0, 2).Draw(t, "aging")) * time.Second}
	tags := rapid.SampledFrom(tagSets)
	for i := range rapid.IntRange(0, 5).Draw(t, "workers") {
		w := scheduler.Worker{ID: pipeline.NodeID(fmt.Sprintf("w%d", i)), Slots: rapid.IntRange(0, 4).Draw(t, "slots"), Tags: map[string]bool{},
			OS: rapid.SampledFrom([]string{"linux", "darwin"}).Draw(t, "os")}
		w.Used = rapid.IntRange(0, w.Slots+1).Draw(t, "used")
		w.Closed = rapid.IntRange(0, 4).Draw(t, "closed") == 0
		w.External = rapid.IntRange(0, 3).Draw(t, "outside") == 0
		w.CPU, w.Memory = int64(rapid.IntRange(0, 4).Draw(t, "cpu"))*1000, int64(rapid.IntRange(0, 8).Draw(t, "memory"))
		w.UsedCPU, w.UsedMemory = rapid.Int64Range(0, w.CPU+500).Draw(t, "used cpu"), rapid.Int64Range(0, w.Memory).Draw(t, "used memory")

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
				OS: rapid.SampledFrom([]string{"", "", "linux", "darwin"}).Draw(t, "wants os")},
				pipeline.Resources{CPU: rapid.SampledFrom([]float64{0, 0, 0.5, 1, 2, 3}).Draw(t, "reserves cpu"),
					Memory: rapid.SampledFrom([]int64{0, 0, 1, 2, 6}).Draw(t, "reserves memory")}, pin)
			c.Avoid = someone.Draw(t, "avoid")
			r.Waits = append(r.Waits, time.Duration(rapid.IntRange(0, 3).Draw(t, "waits"))*time.Second)
			r.Modules = append(r.Modules, scheduler.Module{Name: fmt.Sprintf("m%d", j), Rank: rapid.IntRange(1, 3).Draw(t, "rank"), Order: j, Class: c})
		}

		s.Runs = append(s.Runs, r)
	}

	return s
}

func TestPlan_properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		v := s.build(nil)
		placed, why := scheduler.Plan(v)
		if err := newReferee(s, v.Reservation).check(placed, why); err != nil {
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
		if diff := cmp.Diff(placed, placed2, cmpopts.IgnoreUnexported(scheduler.Module{})); diff != "" {
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
	// reserved is what the plan reserved free, from some moment on: the rules about who
	// is first do not hold for what may not go there.
	reserved *scheduler.Reservation
	// overdue is what has waited too long for what it reserves: it may come first.
	overdue map[string]bool
}

func newReferee(s *scene, reserved *scheduler.Reservation) *referee {
	f := &referee{overdue: map[string]bool{}, workers: map[pipeline.NodeID]*scheduler.Worker{}, runs: map[pipeline.RunID]*scheduler.Run{}, ready: map[pipeline.RunID][]scheduler.Module{}}
	v := s.build(nil)
	for _, w := range v.Workers {
		f.workers[w.ID] = w
	}

	for i, r := range v.Runs {
		f.runs[r.ID], f.ready[r.ID] = r, slices.Clone(s.Runs[i].Modules)
		seen := map[scheduler.Class]bool{}
		for j, m := range s.Runs[i].Modules {
			if !seen[m.Class] && s.AgingInterval > 0 && s.Runs[i].Waits[j] >= s.AgingInterval && m.Class.CPU+m.Class.Memory > 0 {
				f.overdue[fmt.Sprint(r.ID, m.Class)] = true
			}
			seen[m.Class] = true
		}
	}

	if reserved != nil {
		f.reserved = &scheduler.Reservation{Run: reserved.Run, Class: reserved.Class, Worker: f.workers[reserved.Worker.ID]}
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
	case m.Class.CPU > 0 && w.UsedCPU+m.Class.CPU > w.CPU || m.Class.Memory > 0 && w.UsedMemory+m.Class.Memory > w.Memory:
		return fmt.Errorf("it has %d of %d and %d of %d in use", w.UsedCPU, w.CPU, w.UsedMemory, w.Memory)
	case f.full(r):
		return fmt.Errorf("%d run, at most %d may", r.Running, r.MaxParallel)
	}

	for _, o := range f.workers {
		switch {
		case o.ID == w.ID || !f.hasCapacity(o, m.Class):
		case w.ID == m.Class.Avoid:
			return fmt.Errorf("it is to be avoided, and %s is free", o.ID)
		case o.ID != m.Class.Avoid && load(o).Cmp(load(w)) < 0:
			return fmt.Errorf("%s is less loaded", o.ID)
		}
	}

	overdue := fmt.Sprint(r.ID, m.Class)
	for i, o := range f.ready[p.Run] {
		same := o.Class == m.Class
		if (same || !f.overdue[overdue]) && f.anywhere(o.Class) && (o.Rank > m.Rank || o.Rank == m.Rank && o.Order < m.Order) {
			return fmt.Errorf("%s has a longer path or stands first", f.ready[p.Run][i].Name)
		}
	}

	for _, o := range f.runs {
		if o.ID != r.ID && f.canGo(o) && earlier(o, r) {
			return fmt.Errorf("it was the turn of %s", o.ID)
		}
	}

	delete(f.overdue, overdue)
	w.Take(m.Class)
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
				return fmt.Errorf("%s/%s waits, and there is capacity for it", id, m.Name)
			}

			want := scheduler.NoWorker
			for _, w := range f.workers {
				switch {
				case !f.mayTake(w, m.Class):
				case f.capacityFor(w, m.Class):
					want = scheduler.Reserved
				case !w.Closed && w.Used < w.Slots && want != scheduler.Reserved:
					want = scheduler.NoCapacity
				case want == scheduler.NoWorker:
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
	if w.Slots < 1 || c.OS != "" && c.OS != w.OS || c.CPU > w.CPU || c.Memory > w.Memory {
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

	return !w.External || len(tags) > 0
}

// hasCapacity leaves out what is reserved free.
func (f *referee) hasCapacity(w *scheduler.Worker, c scheduler.Class) bool {
	return f.capacityFor(w, c) && f.reserved.Allows(w, c)
}

func (f *referee) capacityFor(w *scheduler.Worker, c scheduler.Class) bool {
	return !w.Closed && w.Used < w.Slots && f.mayTake(w, c) &&
		(c.CPU == 0 || w.UsedCPU+c.CPU <= w.CPU) && (c.Memory == 0 || w.UsedMemory+c.Memory <= w.Memory)
}

// load is the part in use of what is used most.
func load(w *scheduler.Worker) *big.Rat {
	most := big.NewRat(int64(w.Used), int64(w.Slots))
	for _, part := range [][2]int64{{w.UsedCPU, w.CPU}, {w.UsedMemory, w.Memory}} {
		if part[1] > 0 && big.NewRat(part[0], part[1]).Cmp(most) > 0 {
			most = big.NewRat(part[0], part[1])
		}
	}
	return most
}

func (f *referee) anywhere(c scheduler.Class) bool {
	for _, w := range f.workers {
		if f.hasCapacity(w, c) {
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
