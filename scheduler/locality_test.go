package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// byteScene is a view in which the inputs decide: one class, one run.
type byteScene struct {
	Workers []scheduler.Worker
	Inputs  []*scheduler.Inputs
}

func (s *byteScene) view(shuffle *rand.Rand) *scheduler.View {
	v := &scheduler.View{Now: time.Unix(1000, 0), Rate: 1 << 20}
	for i := range s.Workers {
		w := s.Workers[i]
		v.Workers = append(v.Workers, &w)
	}

	r := &scheduler.Run{ID: "r", Number: 1}
	order := seq(len(s.Inputs))
	if shuffle != nil {
		shuffle.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		shuffle.Shuffle(len(v.Workers), func(i, j int) { v.Workers[i], v.Workers[j] = v.Workers[j], v.Workers[i] })
	}

	for _, i := range order {
		r.Add(&scheduler.Module{Name: fmt.Sprintf("m%d", i), Order: i, Inputs: s.Inputs[i]})
	}

	v.Runs = append(v.Runs, r)

	return v
}

func drawBytes(t *rapid.T) *byteScene {
	s := &byteScene{}
	n := rapid.IntRange(1, 5).Draw(t, "workers")
	for i := range n {
		slots := rapid.IntRange(1, 3).Draw(t, "slots")
		s.Workers = append(s.Workers, scheduler.Worker{ID: pipeline.NodeID(fmt.Sprintf("w%d", i)), Slots: slots, Used: rapid.IntRange(0, slots).Draw(t, "used"),
			FreeIn: time.Duration(rapid.IntRange(0, 8).Draw(t, "free in")) * time.Second, Closed: rapid.IntRange(0, 5).Draw(t, "closed") == 0})
	}

	for range rapid.IntRange(1, 6).Draw(t, "modules") {
		in := &scheduler.Inputs{}
		for i := range n {
			if b := int64(rapid.IntRange(0, 6).Draw(t, "bytes")) << 20; b > 0 {
				in.Held = append(in.Held, scheduler.Held{Worker: pipeline.NodeID(fmt.Sprintf("w%d", i)), Bytes: b})
				in.Bytes = max(in.Bytes, b)
			}
		}
		s.Inputs = append(s.Inputs, in)
	}

	return s
}

// seconds is the time until a module could run on a worker: waiting for a slot,
// and transferring what is missing at a MiB a second.
func (s *byteScene) seconds(in *scheduler.Inputs, w *scheduler.Worker, free bool) float64 {
	have := int64(0)
	for _, h := range in.Held {
		if h.Worker == w.ID {
			have = h.Bytes
		}
	}

	cost := float64(in.Bytes-have) / (1 << 20)
	if !free {
		cost += w.FreeIn.Seconds()
	}

	return cost
}

// TestPlan_locality: played again by hand, each module goes to a worker from which
// no worker with capacity has more of its inputs; it waits only if a slot is sooner
// than moving them would take on any worker with capacity; and every module is placed,
// waits for a worker, or finds no slot.
func TestPlan_locality(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawBytes(t)
		v := s.view(nil)
		placed, why := scheduler.Plan(v)
		used := map[pipeline.NodeID]int{}
		capacity := func(w *scheduler.Worker) bool { return !w.Closed && w.Used+used[w.ID] < w.Slots }
		at := func(name string) *scheduler.Inputs {
			var i int
			if _, err := fmt.Sscanf(name, "m%d", &i); err != nil {
				t.Fatal(err)
			}
			return s.Inputs[i]
		}

		for _, p := range placed {
			in := at(p.Module.Name)

			for i := range s.Workers {
				w := &s.Workers[i]
				if w.ID == p.Worker && !capacity(w) {
					t.Fatalf("%s has no capacity for %s", w.ID, p.Module.Name)
				}
			}

			mine := 0.0
			for i := range s.Workers {
				if s.Workers[i].ID == p.Worker {
					mine = s.seconds(in, &s.Workers[i], true)
				}
			}

			for i := range s.Workers {
				if w := &s.Workers[i]; capacity(w) && s.seconds(in, w, true) < mine-0.01 {
					t.Fatalf("%s went to %s, and %s is nearer", p.Module.Name, p.Worker, w.ID)
				}
			}

			used[p.Worker]++
		}

		for _, n := range v.LocalityWaits {
			in := at(n.Module)
			if n.Worker.Closed || n.Worker.FreeIn == 0 || n.Worker.Used < n.Worker.Slots {
				t.Fatalf("%s waits for %+v", n.Module, n.Worker)
			}

			for i := range s.Workers {
				// Workers with capacity at the end had capacity then too.
				if w := &s.Workers[i]; capacity(w) && s.seconds(in, w, true) <= s.seconds(in, n.Worker, false) {
					t.Fatalf("%s waits for %s, and would run sooner on %s", n.Module, n.Worker.ID, w.ID)
				}
			}
		}

		if rest := len(s.Inputs) - len(placed) - len(v.LocalityWaits); rest > 0 && len(why) == 0 {
			t.Fatalf("%d modules are neither placed nor explained", rest)
		}

		if v.Runs[0].Len() != len(s.Inputs)-len(placed) {
			t.Fatalf("%d are ready still, %d of %d were placed", v.Runs[0].Len(), len(placed), len(s.Inputs))
		}
	})
}

func TestPlan_localityOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawBytes(t)
		describe := func(v *scheduler.View) []string {
			placed, _ := scheduler.Plan(v)
			var out []string
			for _, p := range placed {
				out = append(out, fmt.Sprint(p.Module.Name, p.Worker, p.LocalBytes))
			}
			for _, n := range v.LocalityWaits {
				out = append(out, fmt.Sprint(n.Module, n.Worker.ID))
			}
			return out
		}

		seed := rapid.Uint64().Draw(t, "seed")
		if diff := cmp.Diff(describe(s.view(nil)), describe(s.view(rand.New(rand.NewPCG(seed, 1))))); diff != "" {
			t.Fatalf("the order of the view matters:\n%s", diff)
		}
	})
}

// TestPlan_localityEnds: no module waits for a slot forever.
func TestPlan_localityEnds(t *testing.T) {
	r := &scheduler.Run{ID: "r", Number: 1}
	r.Add(&scheduler.Module{Name: "m", Inputs: &scheduler.Inputs{Bytes: 1 << 40, Held: []scheduler.Held{{Worker: "has", Bytes: 1 << 40}}}})

	now := time.Unix(1000, 0)
	for range 100 {
		has := used(worker("has", 1), 1)
		has.FreeIn = time.Second
		v := &scheduler.View{Now: now, Runs: []*scheduler.Run{r}, Workers: []*scheduler.Worker{has, worker("w", 1)}}
		if placed, _ := scheduler.Plan(v); len(placed) > 0 {
			if now.Before(time.Unix(1030, 0)) {
				t.Fatal("it did not wait")
			}
			return
		}

		now = now.Add(time.Second)
	}

	t.Fatal("it waits for a slot that never comes")
}
