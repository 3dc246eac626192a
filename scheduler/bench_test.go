package scheduler_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// BenchmarkPlan plans for 1,000 workers and a backlog of 1,000,000 ready
// modules in four runs, and removes finished modules from their workers between
// the plans, so that each plan has a hundred free slots. The last tenth of the
// decisions must cost no more than the first.
func BenchmarkPlan(b *testing.B) {
	const workers, backlog, perPlan = 1000, 1_000_000, 100
	for _, classes := range []int{1, 16} {
		b.Run(fmt.Sprintf("classes=%d", classes), func(b *testing.B) {
			var early, late, all time.Duration
			for range b.N {
				b.StopTimer()
				v := backlogView(workers, 4, backlog, classes)
				b.StartTimer()
				began := cpuTime(b)
				early, late = drainBacklog(b, v, perPlan, backlog)
				all += cpuTime(b) - began
			}

			b.ReportMetric(float64(all)/float64(b.N)/backlog, "cpu-ns/decision")
			b.ReportMetric(float64(late)/float64(early), "last/first")
		})
	}
}

// BenchmarkPlan_fill places 16,000 modules on empty workers in one plan.
func BenchmarkPlan_fill(b *testing.B) {
	var all time.Duration
	for range b.N {
		b.StopTimer()
		v := backlogView(1000, 4, 100_000, 16)
		b.StartTimer()
		began := cpuTime(b)
		placed, _ := scheduler.Plan(v)
		all += cpuTime(b) - began
		if len(placed) != 16_000 {
			b.Fatalf("placed %d of 16000", len(placed))
		}
	}

	b.ReportMetric(float64(all)/float64(b.N)/16_000, "cpu-ns/decision")
}

// cpuTime is what the process has used of the processors, the collector's part
// included: it means something on a busy machine too.
func cpuTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// drainBacklog plans until nothing is left and returns what the first and the
// last tenth of the decisions took.
func drainBacklog(tb testing.TB, v *scheduler.View, perPlan, backlog int) (first, last time.Duration) {
	for _, w := range v.Workers {
		w.Used = w.Slots
	}

	byID := map[pipeline.NodeID]*scheduler.Worker{}
	for _, w := range v.Workers {
		byID[w.ID] = w
	}

	runs := map[pipeline.RunID]*scheduler.Run{}
	for _, r := range v.Runs {
		runs[r.ID] = r
	}

	done := 0
	for turn := 0; done < backlog; turn++ {
		for i := range perPlan {
			v.Workers[(turn*perPlan+i)%len(v.Workers)].Used--
		}

		start := cpuTime(tb)
		placed, _ := scheduler.Plan(v)
		took := cpuTime(tb) - start
		if len(placed) == 0 {
			tb.Fatalf("nothing was placed after %d modules", done)
		}

		for i := range placed {
			runs[placed[i].Run].Running-- // any module that finished made the capacity free
		}

		switch {
		case done < backlog/10:
			first += took
		case done >= backlog-backlog/10:
			last += took
		}

		done += len(placed)
	}

	return first, last
}

// backlogView has workers of 16 slots each and modules spread over runs and
// classes. Every worker has what every class asks for.
func backlogView(workers, runs, modules, classes int) *scheduler.View {
	tags := map[string]bool{}
	list := make([]scheduler.Class, classes)
	for i := range list {
		tag := fmt.Sprintf("tag-%d", i)
		tags[tag] = true
		list[i] = scheduler.ClassOf(pipeline.Requires{OS: "linux", Tags: []string{tag}}, pipeline.Resources{}, "")
	}

	v := &scheduler.View{}
	for i := range workers {
		v.Workers = append(v.Workers, &scheduler.Worker{ID: pipeline.NodeID(fmt.Sprintf("w%04d", i)), OS: "linux", Tags: tags, Slots: 16})
	}
	for i := range runs {
		v.Runs = append(v.Runs, &scheduler.Run{ID: pipeline.RunID(fmt.Sprintf("r%d", i)), Number: uint64(i + 1)})
	}

	for i := range modules {
		n := i / runs
		v.Runs[i%runs].Add(&scheduler.Module{Name: fmt.Sprintf("m%d", n), Rank: n * 7919 % 50, Order: n, Class: list[n%classes]})
	}

	return v
}

func BenchmarkRanks(b *testing.B) {
	p := layered(100, 1000, 3)
	b.ResetTimer()
	for range b.N {
		scheduler.Ranks(p, nil)
	}
}
