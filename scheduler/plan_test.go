package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// A worker with limits gets neither private modules nor those of other pipelines.
func TestFits_limits(t *testing.T) {
	w := worker("ext-1", 2, "gpu")
	w.External, w.NoSecrets, w.Pipelines = true, true, []string{"train-*", "eval"}
	for _, tc := range []struct {
		pipeline string
		private  bool
		want     bool
	}{
		{"train-1", false, true}, {"eval", false, true}, {"evaluate", false, false}, {"release", false, false}, {"eval", true, false},
	} {
		c := scheduler.ClassOf(pipeline.Requires{Tags: []string{"gpu"}}, pipeline.Resources{}, "")
		c.Pipeline, c.Private = tc.pipeline, tc.private
		if got := scheduler.Fits(w, c); got != tc.want {
			t.Errorf("%s, private %v: %v, want %v", tc.pipeline, tc.private, got, tc.want)
		}
	}
}

func TestFits(t *testing.T) {
	linux := worker("w", 2)
	outside := worker("ext-1", 2, "gpu")
	outside.External = true

	none := pipeline.Resources{}
	for _, tc := range []struct {
		name string
		w    *scheduler.Worker
		req  pipeline.Requires
		pin  pipeline.NodeID
		want bool
		res  pipeline.Resources
	}{
		{"nothing asked", linux, pipeline.Requires{}, "", true, none},
		{"os", linux, pipeline.Requires{OS: "linux"}, "", true, none},
		{"os, other case", linux, pipeline.Requires{OS: "LINUX"}, "", true, none},
		{"other os", linux, pipeline.Requires{OS: "darwin"}, "", false, none},
		{"arch", linux, pipeline.Requires{Arch: "amd64"}, "", true, none},
		{"other arch", linux, pipeline.Requires{Arch: "arm64"}, "", false, none},
		{"tool", linux, pipeline.Requires{Tools: []string{"Git"}}, "", true, none},
		{"tools, one missing", linux, pipeline.Requires{Tools: []string{"git", "docker"}}, "", false, none},
		{"tag missing", linux, pipeline.Requires{Tags: []string{"gpu"}}, "", false, none},
		{"tags in any order, twice", worker("w", 1, "a", "b"), pipeline.Requires{Tags: []string{"B", "a", "b"}}, "", true, none},
		{"pinned here", linux, pipeline.Requires{}, "w", true, none},
		{"pinned elsewhere", linux, pipeline.Requires{}, "v", false, none},
		{"pinned here, lacks a tool", linux, pipeline.Requires{Tools: []string{"docker"}}, "w", false, none},
		{"no slots at all", worker("w", 0), pipeline.Requires{}, "", false, none},
		{"slots below zero", worker("w", -1), pipeline.Requires{}, "", false, none},
		{"full is no matter", &scheduler.Worker{ID: "w", Slots: 1, Used: 1}, pipeline.Requires{}, "", true, none},
		{"outside, no tag asked", outside, pipeline.Requires{}, "", false, none},
		{"outside, only a tool asked", outside, pipeline.Requires{Tools: []string{"git"}}, "", false, none},
		{"outside, its tag", outside, pipeline.Requires{Tags: []string{"gpu"}}, "", true, none},
		{"outside, its tag and another", outside, pipeline.Requires{Tags: []string{"gpu", "big"}}, "", false, none},
		{"outside, pinned", outside, pipeline.Requires{}, "ext-1", true, none},
		{"as much as it has", sized(worker("w", 1), 4, 8), pipeline.Requires{}, "", true, pipeline.Resources{CPU: 4, Memory: 8}},
		{"more processors than it has", sized(worker("w", 1), 4, 8), pipeline.Requires{}, "", false, pipeline.Resources{CPU: 4.001}},
		{"more memory than it has", sized(worker("w", 1), 4, 8), pipeline.Requires{}, "", false, pipeline.Resources{Memory: 9}},
		{"memory of one that does not say what it has", linux, pipeline.Requires{}, "", false, pipeline.Resources{Memory: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := scheduler.Fits(tc.w, scheduler.ClassOf(tc.req, tc.res, tc.pin)); got != tc.want {
				t.Errorf("Fits = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestClassOf_equal(t *testing.T) {
	a := scheduler.ClassOf(pipeline.Requires{OS: "Linux", Tools: []string{"Go", "git"}, Tags: []string{"b", "a"}}, pipeline.Resources{}, "w")
	b := scheduler.ClassOf(pipeline.Requires{OS: "linux", Tools: []string{"git", "go"}, Tags: []string{"A", "B"}}, pipeline.Resources{}, "w")
	if a != b {
		t.Errorf("the same requirements in another spelling are another class:\n%+v\n%+v", a, b)
	}
}

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		name string
		view *scheduler.View
		want string // placements, then explanations
	}{
		{"nothing", &scheduler.View{}, ""},
		{"no workers", view(run("a", 1, 2)), "a: no worker"},
		{"a closed worker only", view(run("a", 1, 1), closed(worker("w", 1))), "a: no slot"},
		{"a full worker only", view(run("a", 1, 1), used(worker("w", 1), 1)), "a: no slot"},
		{"more used than there is", view(run("a", 1, 1), used(worker("w", 1), 3)), "a: no slot"},
		{"least loaded first", view(run("a", 1, 3), used(worker("v", 4), 2), used(worker("w", 2), 0)),
			"a/m0>w a/m1>v a/m2>w"},
		{"equal load: more free slots, then the smaller id", view(run("a", 1, 3), worker("w", 1), worker("v", 1), worker("x", 2)),
			"a/m0>x a/m1>v a/m2>w"},
		{"at its limit", view(limit(run("a", 1, 3), 2), worker("w", 4)), "a/m0>w a/m1>w a: at limit"},
		{"at its limit before", view(running(limit(run("a", 1, 3), 2), 2), worker("w", 4)), "a: at limit"},
		{"fewest running first", view(running(run("a", 1, 2), 1), run("b", 2, 2), worker("w", 3)), "b/m0>w a/m0>w b/m1>w a: no slot"},
		{"then the older run", view(run("b", 2, 1), run("a", 1, 1), worker("w", 1)), "a/m0>w b: no slot"},
		{"priority before all", view(running(priority(run("a", 2, 2), 1), 9), run("b", 1, 2), worker("w", 3)),
			"a/m0>w a/m1>w b/m0>w b: no slot"},
		{"longest path first", view(ranked("a", 1, 1, 3, 2, 3), worker("w", 3)), "a/m1>w a/m3>w a/m2>w a: no slot"},
		{"a class without room holds no other up", view(withClass(ranked("a", 1, 1), "late", 9, class("gpu")), worker("w", 2)),
			"a/m0>w a[gpu]: no worker"},
		{"no more processors and memory than there are", view(needing("a", 3, 2, 1), sized(worker("w", 9), 4, 9), sized(worker("v", 9), 9, 1)),
			"a/m0>v a/m1>w a/m2>w"},
		{"no capacity", view(needing("a", 3, 2, 3), sized(worker("w", 9), 4, 5)), "a/m0>w a: no capacity"},
		{"no room beside what is there", view(needing("a", 1, 2, 0), busy(sized(worker("w", 9), 4, 4), 1, 2.5, 0)), "a: no capacity"},
		{"no worker is large enough", view(needing("a", 1, 0, 64), sized(worker("w", 9), 4, 4)), "a: no worker"},
		{"room but no slot", view(needing("a", 1, 1, 1), busy(sized(worker("w", 1), 4, 4), 1, 0, 0)), "a: no slot"},
		{"the emptiest by what is used most", view(run("a", 1, 1), busy(sized(worker("v", 9), 4, 4), 1, 3, 1), used(worker("w", 2), 1)), "a/m0>w"},
		{"avoided, another is free", view(avoiding("a", "v"), worker("v", 4), used(worker("w", 2), 1)), "a/m0>w"},
		{"avoided, no other is free", view(avoiding("a", "v"), worker("v", 4), used(worker("w", 2), 2)), "a/m0>v"},
		{"avoided, no other fits", view(avoiding("a", "v"), worker("v", 4)), "a/m0>v"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			placed, why := scheduler.Plan(tc.view)
			if diff := cmp.Diff(tc.want, brief(placed, why)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlan_changesItsView(t *testing.T) {
	w, r := worker("w", 2), run("a", 1, 3)
	placed, _ := scheduler.Plan(view(r, w))
	if len(placed) != 2 || w.Used != 2 || r.Running != 2 || r.Len() != 1 {
		t.Fatalf("placed %d, used %d, running %d, left %d; want 2, 2, 2, 1", len(placed), w.Used, r.Running, r.Len())
	}

	r.Clear()
	if placed, why := scheduler.Plan(view(r, worker("v", 2))); r.Len() != 0 || len(placed)+len(why) != 0 {
		t.Errorf("after Clear: %d left, %v, %v; want nothing", r.Len(), placed, why)
	}

	r.Add(&scheduler.Module{Name: "again"})
	if placed, _ := scheduler.Plan(view(r, worker("v", 2))); len(placed) != 1 {
		t.Errorf("a cleared run took no module: %v", placed)
	}
}

func worker(id string, slots int, tags ...string) *scheduler.Worker {
	w := &scheduler.Worker{ID: pipeline.NodeID(id), Name: "name-of-" + id, OS: "Linux", Arch: "amd64", Slots: slots,
		Tools: map[string]bool{"git": true, "go": true}, Tags: map[string]bool{}}
	for _, tag := range tags {
		w.Tags[tag] = true
	}
	return w
}

// sized has so many processors, and so much memory.
func sized(w *scheduler.Worker, cpu, memory int64) *scheduler.Worker {
	w.CPU, w.Memory = cpu*1000, memory
	return w
}

// busy has n modules that reserve so much together.
func busy(w *scheduler.Worker, n int, cpu float64, memory int64) *scheduler.Worker {
	w.Used, w.UsedCPU, w.UsedMemory = n, scheduler.Thousandths(cpu), memory
	return w
}

// needing has n modules that reserve so much each.
func needing(id string, n int, cpu float64, memory int64) *scheduler.Run {
	r := &scheduler.Run{ID: pipeline.RunID(id), Number: 1}
	for i := range n {
		withClass(r, fmt.Sprintf("m%d", i), 0, reserving(cpu, memory))
	}
	return r
}

func reserving(cpu float64, memory int64) scheduler.Class {
	return scheduler.ClassOf(pipeline.Requires{}, pipeline.Resources{CPU: cpu, Memory: memory}, "")
}

func closed(w *scheduler.Worker) *scheduler.Worker      { w.Closed = true; return w }
func used(w *scheduler.Worker, n int) *scheduler.Worker { w.Used = n; return w }

// A limit bounds the modules that share it, and keeps no other from a slot.
func TestPlan_limit(t *testing.T) {
	l := &scheduler.Limit{Max: 2, Running: 1}
	r := &scheduler.Run{ID: "r", Number: 1}
	for i := range 3 {
		r.Add(&scheduler.Module{Name: fmt.Sprintf("bound%d", i), Order: i, Priority: 1, Limit: l})
	}
	r.Add(&scheduler.Module{Name: "free", Order: 9})
	placed, why := scheduler.Plan(&scheduler.View{Runs: []*scheduler.Run{r}, Workers: []*scheduler.Worker{{ID: "w", Name: "w", Slots: 8, Used: 1}}})

	var names []string
	for _, p := range placed {
		names = append(names, p.Module.Name)
	}
	if !slices.Equal(names, []string{"bound0", "free"}) {
		t.Errorf("placed %v", names)
	}
	if l.Running != 2 || r.Len() != 2 {
		t.Errorf("%d run with the limit, and %d modules are left", l.Running, r.Len())
	}
	if len(why) != 1 || why[0] != (scheduler.Explanation{Run: "r", Limit: l, Why: scheduler.AtLimit}) {
		t.Errorf("explained by %+v", why)
	}
	if m := r.Next(func(scheduler.Class) bool { return true }); m != nil {
		t.Errorf("%s was queued ahead", m.Name)
	}
}

func limit(r *scheduler.Run, n int) *scheduler.Run    { r.MaxParallel = n; return r }
func running(r *scheduler.Run, n int) *scheduler.Run  { r.Running = n; return r }
func priority(r *scheduler.Run, n int) *scheduler.Run { r.Priority = n; return r }

func class(tags ...string) scheduler.Class {
	return scheduler.ClassOf(pipeline.Requires{Tags: tags}, pipeline.Resources{}, "")
}

// run has n modules of equal rank, m0 on.
func run(id string, number uint64, n int) *scheduler.Run {
	return ranked(id, number, make([]int, n)...)
}

func ranked(id string, number uint64, ranks ...int) *scheduler.Run {
	r := &scheduler.Run{ID: pipeline.RunID(id), Number: number}
	for i, rank := range ranks {
		r.Add(&scheduler.Module{Name: fmt.Sprintf("m%d", i), Rank: rank, Order: i})
	}
	return r
}

func withClass(r *scheduler.Run, name string, rank int, c scheduler.Class) *scheduler.Run {
	r.Add(&scheduler.Module{Name: name, Rank: rank, Order: r.Len(), Class: c})
	return r
}

func avoiding(id string, w pipeline.NodeID) *scheduler.Run {
	return withClass(&scheduler.Run{ID: pipeline.RunID(id), Number: 1}, "m0", 1, scheduler.Class{Avoid: w})
}

// view makes a view of runs and workers, in any order.
func view(parts ...any) *scheduler.View {
	v := &scheduler.View{}
	for _, p := range parts {
		switch p := p.(type) {
		case *scheduler.Run:
			v.Runs = append(v.Runs, p)
		case *scheduler.Worker:
			v.Workers = append(v.Workers, p)
		}
	}

	return v
}

var whyNames = map[scheduler.Why]string{scheduler.NoSlot: "no slot", scheduler.NoWorker: "no worker", scheduler.AtLimit: "at limit",
	scheduler.NoCapacity: "no capacity", scheduler.Reserved: "reserved"}

func brief(placed []scheduler.Placement, why []scheduler.Explanation) string {
	var out []string
	for _, p := range placed {
		out = append(out, fmt.Sprintf("%s/%s>%s", p.Run, p.Module.Name, p.Worker))
	}
	for _, e := range why {
		out = append(out, explained(e))
	}
	return strings.Join(out, " ")
}

func explained(e scheduler.Explanation) string {
	c := strings.ReplaceAll(e.Class.Tags, "\x00", ",")
	if e.Class.Pin != "" {
		c += "@" + string(e.Class.Pin)
	}
	if c != "" {
		c = "[" + c + "]"
	}
	return fmt.Sprintf("%s%s: %s", e.Run, c, whyNames[e.Why])
}
