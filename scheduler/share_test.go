package scheduler_test

import (
	"testing"

	"github.com/pipelined/pipelined/scheduler"
)

// Slots go to the submitter with the fewest running modules, whatever its runs are;
// aging and priority come first.
func TestPlan_submitters(t *testing.T) {
	of := func(s *scheduler.Submitter, r *scheduler.Run) *scheduler.Run { r.Submitter = s; return r }
	for _, tc := range []struct {
		name       string
		many, one  scheduler.Submitter
		oldest     int // the priority of the first run of many
		slots      int
		wantOfMany int
	}{
		{"one slot for who has nothing", scheduler.Submitter{Running: 2}, scheduler.Submitter{}, 0, 1, 0},
		{"halves", scheduler.Submitter{}, scheduler.Submitter{}, 0, 4, 2},
		{"what waits does not count for many", scheduler.Submitter{Running: 1}, scheduler.Submitter{}, 9, 1, 0},
		{"who waited long", scheduler.Submitter{Aging: 1}, scheduler.Submitter{}, 0, 1, 1},
	} {
		v := view(worker("w", tc.slots))
		for i, id := range []string{"a", "b", "c", "d"} {
			r := of(&tc.many, run(id, uint64(i+1), 2))
			r.Priority = tc.oldest
			v.Runs = append(v.Runs, r)
		}
		v.Runs = append(v.Runs, of(&tc.one, run("z", 9, 2)))
		placed, _ := scheduler.Plan(v)
		n := 0
		for _, x := range placed {
			if x.Run != "z" {
				n++
			}
		}
		if len(placed) != tc.slots || n != tc.wantOfMany {
			t.Errorf("%s: %d of %d slots for the submitter with many runs, want %d", tc.name, n, len(placed), tc.wantOfMany)
		}
	}
}
