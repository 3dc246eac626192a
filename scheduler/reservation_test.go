package scheduler_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/scheduler"
)

// TestPlan_reserves: a class that waited longer than the aging interval gets a reservation,
// and only what does not prolong its wait goes there.
func TestPlan_reserves(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		name   string
		waited time.Duration
		small  scheduler.Class
		want   string
	}{
		{"not long enough", 9 * time.Second, reserving(1, 0), "a/s>w a: no capacity"},
		{"long enough", 10 * time.Second, reserving(1, 0), "a: no capacity a: reserved"},
		{"what asks for something else may go", time.Minute, reserving(0, 1), "a/s>w a: no capacity"},
		{"what asks for nothing may go", time.Minute, class(), "a/s>w a: no capacity"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := withClass(withClass(&scheduler.Run{ID: "a", Number: 1}, "big", 0, reserving(4, 0)), "s", 9, tc.small)
			r.Waited(reserving(4, 0), now.Add(-tc.waited))
			v := view(r, busy(sized(worker("w", 9), 4, 4), 1, 1, 0))
			v.Now, v.AgingInterval = now, 10*time.Second

			if got := brief(scheduler.Plan(v)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}

			if (v.Reservation != nil) != (tc.waited >= v.AgingInterval) {
				t.Errorf("reservation %+v", v.Reservation)
			}
		})
	}
}

// TestPlan_nothingStarves: a module that needs a whole worker starts, however
// many small ones come; without aging it would wait for all of them.
func TestPlan_nothingStarves(t *testing.T) {
	r := &scheduler.Run{ID: "a", Number: 1}
	w := sized(worker("w", 4), 4, 0)
	withClass(r, "big", 0, reserving(4, 0))
	now := time.Unix(1000, 0)
	type going struct {
		class scheduler.Class
		until time.Time
	}

	var live []going
	for i := range 100 {
		withClass(r, fmt.Sprintf("small%d", i), 9, reserving(1, 0))

		var rest []going
		for _, g := range live {
			if g.until.After(now) {
				rest = append(rest, g)
				continue
			}
			w.Used, w.UsedCPU = w.Used-1, w.UsedCPU-g.class.CPU
		}

		live = rest
		v := &scheduler.View{Runs: []*scheduler.Run{r}, Workers: []*scheduler.Worker{w}, Now: now, AgingInterval: 10 * time.Second}

		placed, _ := scheduler.Plan(v)
		for _, p := range placed {
			if p.Module.Name == "big" {
				if i < 10 {
					t.Fatalf("placed in round %d: nothing was in its way", i)
				}
				return
			}
			live = append(live, going{p.Module.Class, now.Add(3 * time.Second)})
		}

		now = now.Add(time.Second)
	}

	t.Fatal("the module that needs a whole worker never started")
}
