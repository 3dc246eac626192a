package orchestrator

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// A run comes back when the first of its times has come, not for one that has passed:
// what was due then still waits for something else.
func TestParking_due(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		notBefore []time.Time
		want      time.Time
	}{
		"none":   {[]time.Time{{}}, time.Time{}},
		"passed": {[]time.Time{now.Add(-time.Minute), now}, time.Time{}},
		"ahead":  {[]time.Time{now.Add(-time.Minute), now.Add(time.Hour), now.Add(time.Minute)}, now.Add(time.Minute)},
	} {
		p := &parking{drop: func(pipeline.RunID) {}, byID: map[pipeline.RunID]*parkedRun{}, queues: map[queueKey][]*parkedRun{}}
		r := &run{head: pipeline.Run{ID: "r"}, def: &pipeline.Pipeline{}}
		for _, at := range tc.notBefore {
			r.list = append(r.list, &moduleState{run: r, state: pipeline.ModuleWaiting, tries: tries{notBefore: at}})
		}
		p.park(r, now)
		if got := p.byID["r"].due; !got.Equal(tc.want) {
			t.Errorf("%s: due %v, want %v", name, got, tc.want)
		}
	}
}

// A run stays while something about it is under way that would begin anew if the run
// were read again.
func TestParking_canWait(t *testing.T) {
	for name, change := range map[string]func(*moduleState){
		"":                      func(*moduleState) {},
		"a cache lookup wanted": func(m *moduleState) { m.cache.looking = true },
		"a cache lookup":        func(m *moduleState) { m.cache.looking, m.cache.asked = true, true },
		"an evaluation":         func(m *moduleState) { m.deferred.running = true },
		"an attempt":            func(m *moduleState) { m.active = &activeAttempt{} },
		"its locks":             func(m *moduleState) { m.ready.hasLocks = true },
	} {
		m := &moduleState{state: pipeline.ModuleWaiting}
		change(m)
		p := &parking{undecided: func(*run) bool { return false }}
		want := name == "" || name == "a cache lookup wanted"
		if got := p.canWait(&run{list: []*moduleState{m}}, true); got != want {
			t.Errorf("with %q: %v, want %v", name, got, want)
		}
	}
}

// Of the runs to which something happened the first comes back first, whatever happens
// to it meanwhile.
func TestParking_hurry(t *testing.T) {
	p := &parking{byID: map[pipeline.RunID]*parkedRun{}, queues: map[queueKey][]*parkedRun{}}
	for i, id := range []pipeline.RunID{"a", "b", "c"} {
		p.push(&parkedRun{id: id, number: uint64(i)})
	}
	for _, id := range []pipeline.RunID{"c", "b", "c"} {
		if !p.hurry(id) {
			t.Errorf("%s is not parked", id)
		}
	}
	for _, want := range []pipeline.RunID{"c", "b", "a"} {
		x := p.next(&loads{}, false)
		if x.id != want {
			t.Errorf("%s comes back, want %s", x.id, want)
		}
		p.remove(x.id)
	}
}
