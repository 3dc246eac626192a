package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// What is posted is taken once, in order, by one wake; nothing is accepted after
// the end.
func TestInbox(t *testing.T) {
	b := newInbox()
	var got []int
	for i := range 3 {
		if !b.post(func() { got = append(got, i) }) {
			t.Fatal("not accepted")
		}
	}
	if len(b.wake) != 1 {
		t.Errorf("%d wakes", len(b.wake))
	}
	for _, fn := range b.take() {
		fn()
	}
	if !slices.Equal(got, []int{0, 1, 2}) || len(b.take()) != 0 {
		t.Errorf("got %v", got)
	}

	b.post(func() { t.Error("called after the end") })
	b.close()
	if b.post(func() {}) || len(b.take()) != 0 {
		t.Error("accepted after the end")
	}
}

func TestInbox_concurrent(t *testing.T) {
	b := newInbox()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 1000 {
				b.post(func() {})
			}
		})
	}
	n := 0
	for n < 8000 {
		<-b.wake
		n += len(b.take())
	}
	group.Wait()
	if n != 8000 {
		t.Errorf("%d of 8000 were taken", n)
	}
}

func TestFlag(t *testing.T) {
	var f flag
	if f.lower() {
		t.Error("raised at first")
	}
	f.raise()
	f.raise()
	if !f.lower() || f.lower() {
		t.Error("not lowered by the first")
	}
}

// The outbox gives away all that it has, once, with the reasons of stops.
func TestOutbox(t *testing.T) {
	o := newOutbox()
	a := &activeAttempt{id: pipeline.AttemptID{Run: "r", Module: "a", Attempt: 1}}
	o.dispatch(a, pipeline.Spec{ID: a.id})
	o.stop(a.id, "enough")
	o.stop(pipeline.AttemptID{Run: "r", Module: "b", Attempt: 1}, "enough")
	o.stop(a.id, "drain")

	attempts, specs, stops := o.take()
	if len(attempts) != 1 || attempts[0] != a || specs[0].ID != a.id || len(stops["enough"]) != 2 || len(stops["drain"]) != 1 {
		t.Errorf("%v %v %v", attempts, specs, stops)
	}
	attempts, specs, stops = o.take()
	if len(attempts)+len(specs)+len(stops) != 0 {
		t.Errorf("again: %v %v %v", attempts, specs, stops)
	}
}

// The pace follows the newest attempts and counts only successes.
func TestPace(t *testing.T) {
	now := time.Now()
	took := func(s pipeline.AttemptState, d time.Duration) *pipeline.Outcome {
		return &pipeline.Outcome{State: s, StartedAt: now, FinishedAt: now.Add(d)}
	}
	var p pace
	p.add(took(pipeline.AttemptFailed, time.Hour))
	p.add(&pipeline.Outcome{State: pipeline.AttemptSucceeded, FinishedAt: now})
	if p.samples != 0 {
		t.Fatalf("%+v", p)
	}
	p.add(took(pipeline.AttemptSucceeded, 8*time.Millisecond))
	if p.average != 8*time.Millisecond {
		t.Errorf("the first: %s", p.average)
	}
	p.add(took(pipeline.AttemptSucceeded, 16*time.Millisecond))
	if p.average != 10*time.Millisecond || p.samples != 2 {
		t.Errorf("%+v", p)
	}
	p.add(took(pipeline.AttemptSucceeded, -time.Second)) // a clock that went back
	if p.average != 7500*time.Microsecond {
		t.Errorf("%+v", p)
	}
}

// The pause after a failure never leaves its bounds.
func TestRetryPause(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &pipeline.Retry{Backoff: time.Duration(rapid.IntRange(0, 100).Draw(t, "backoff")) * time.Second,
			MaxBackoff: time.Duration(rapid.IntRange(0, 1000).Draw(t, "max")) * time.Second}
		n := rapid.IntRange(1, 60).Draw(t, "failures")
		first, limit := r.Backoff, r.MaxBackoff
		if first == 0 {
			first = pipeline.DefaultBackoff
		}
		if limit == 0 {
			limit = pipeline.DefaultMaxBackoff
		}
		want := first
		for range n - 1 {
			if want < limit {
				want *= 2
			}
		}
		want = min(want, limit)
		if got := retryPause(r, n); got > want || got < want-want/4-1 {
			t.Fatalf("%s after %d failures, want %s less a quarter", got, n, want)
		}
	})
}

func TestRun_deadline(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, tc := range []struct {
		name    string
		head    pipeline.Run
		timeout time.Duration
		want    time.Time
	}{
		{"no timeout", pipeline.Run{StartedAt: start}, 0, time.Time{}},
		{"not started", pipeline.Run{}, time.Minute, time.Time{}},
		{"started", pipeline.Run{StartedAt: start}, time.Minute, start.Add(time.Minute)},
		{"retried", pipeline.Run{StartedAt: start, RetriedAt: start.Add(time.Hour)}, time.Minute, start.Add(time.Hour + time.Minute)},
		{"in a queue", pipeline.Run{Group: "g", RetriedAt: start}, time.Minute, time.Time{}},
		{"out of its queue", pipeline.Run{Group: "g", StartedAt: start}, time.Minute, start.Add(time.Minute)},
	} {
		r := &run{head: tc.head, def: &pipeline.Pipeline{Timeout: tc.timeout}}
		if got := r.deadline(); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestRun_outcome(t *testing.T) {
	failing := &moduleState{def: &pipeline.Module{Name: "a", Failure: "no luck"}}
	for _, tc := range []struct {
		name   string
		head   pipeline.Run
		tally  tally
		state  pipeline.RunState
		reason string
	}{
		{"nothing", pipeline.Run{}, tally{}, pipeline.RunSucceeded, ""},
		{"an ignored failure", pipeline.Run{}, tally{ignored: 1}, pipeline.RunWarnings, ""},
		{"a failure", pipeline.Run{}, tally{failed: 1, ignored: 1, firstFailed: "b"}, pipeline.RunFailed, "b failed"},
		{"a failure with a message", pipeline.Run{}, tally{failed: 1, firstFailed: "a"}, pipeline.RunFailed, "no luck"},
		{"cancelled", pipeline.Run{State: pipeline.RunCancelling, Reason: "enough"}, tally{cancelled: 1, failed: 1}, pipeline.RunCancelled, "enough"},
		{"cancelled too late", pipeline.Run{State: pipeline.RunCancelling, Reason: "enough"}, tally{}, pipeline.RunSucceeded, ""},
		{"timed out", pipeline.Run{State: pipeline.RunCancelling, TimedOut: true, Reason: "late"}, tally{cancelled: 1}, pipeline.RunFailed, "late"},
	} {
		r := &run{head: tc.head, tally: tc.tally, modules: map[string]*moduleState{"a": failing, "b": {def: &pipeline.Module{Name: "b"}}}}
		if state, reason := r.outcome(); state != tc.state || reason != tc.reason {
			t.Errorf("%s: %s, %q; want %s, %q", tc.name, state, reason, tc.state, tc.reason)
		}
	}
}

func TestShortened(t *testing.T) {
	for n, want := range []string{"", "a", "a b", "a b c", "a b c …", "a b c …"} {
		list := strings.Fields("a b c d e")[:n]
		if got := strings.Join(shortened(list, 4), " "); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// A batch knows its size well enough to stay below the limit of an entry.
func TestBatch_size(t *testing.T) {
	r, err := newRun(pipeline.Run{ID: "r", Pipeline: "p", Modules: 2}, &pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{
		{Name: "dep"}, {Name: strings.Repeat("m", 60), DependsOn: []string{"dep"}, Locks: []string{strings.Repeat("k", 200)}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := r.list[1]
	long := strings.Repeat("x", 3000)
	a := &activeAttempt{module: m, id: pipeline.AttemptID{Run: "r", Module: m.def.Name, Attempt: 1}, worker: "w",
		evaluated: &pipeline.Evaluated{Script: long, Command: []string{long, long}, Env: map[string]string{"X": long}},
		lookup:    &pipeline.CacheLookup{Missed: []string{long}, Inputs: []string{long}, Parts: []pipeline.CachePart{{Name: "n", Sum: long}}}}
	for name, add := range map[string]func(b *batch){
		"assign": func(b *batch) { b.assign(a, "worker") },
		"outcome": func(b *batch) {
			b.outcome(a, fsm.Outcome{Outcome: pipeline.Outcome{ID: a.id, Result: []byte(long), Reason: long, OutputPaths: []string{long, long}}, Reason: long})
		},
		"end":    func(b *batch) { b.end(m, long) },
		"start":  func(b *batch) { b.start(a, time.Now()) },
		"reopen": func(b *batch) { b.reopen(m, long) },
		"run":    func(b *batch) { b.runEnd(r, pipeline.RunFailed, long) },
		"decide": func(b *batch) { b.decide(m, fsm.Decide{Run: "r", Module: m.def.Name, Reason: long}) },
		"await": func(b *batch) {
			m.approval = &approvalWait{message: long}
			b.await(m)
		},
		"cached": func(b *batch) { b.endCached(m, long, &pipeline.CacheEntry{Key: "k", From: a.id}) },
		"expand": func(b *batch) {
			b.expand(m, []pipeline.Instance{{Key: long, Each: map[string]string{"each.value": long}}})
		},
	} {
		b := &batch{}
		if !b.empty() {
			t.Fatal("not empty at first")
		}
		for range 10 {
			add(b)
		}
		raw, err := fsm.Encode(&fsm.Command{Batch: &b.Batch})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b.empty() || b.size < len(raw)*8/10 {
			t.Errorf("%s: counted as %d bytes, encoded in %d", name, b.size, len(raw))
		}
		if _, touched := b.runs[r]; !touched {
			t.Errorf("%s does not touch its run", name)
		}
	}
}

// The id of a tick's run follows from the tick alone.
func TestTickRun(t *testing.T) {
	a := &fsm.ScheduleRecord{Name: "s", Revision: 1}
	seen := map[pipeline.RunID]string{}
	for _, rec := range []*fsm.ScheduleRecord{a, {Name: "s", Revision: 2}, {Name: "t", Revision: 1}} {
		for i := range 50 {
			at := noon.Add(time.Duration(i) * time.Second)
			id := tickRun(rec, at)
			if id != tickRun(rec, at) || len(id) != 32 {
				t.Fatalf("%s", id)
			}
			text := fmt.Sprint(rec.Name, rec.Revision, at)
			if other := seen[id]; other != "" {
				t.Fatalf("%s and %s have one id", other, text)
			}
			seen[id] = text
		}
	}
	if tickRun(a, noon) > tickRun(a, noon.Add(time.Minute)) {
		t.Error("ids do not sort by time")
	}
}

// An expanded module stays, final, between its instances and its dependents.
func TestModule_expand(t *testing.T) {
	r, err := newRun(pipeline.Run{ID: "r", Modules: 3}, &pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{
		{Name: "first"}, {Name: "many", DependsOn: []string{"first"}, Dynamic: true}, {Name: "last", DependsOn: []string{"many"}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	added := r.modules["many"].expand([]pipeline.Instance{{Key: "a"}, {Key: "b"}})
	if len(added) != 2 || r.tally.remaining != 5 || r.modules["last"].unfinished != 3 || len(r.modules["first"].dependents) != 3 {
		t.Errorf("%d added, %d remaining, last waits for %d", len(added), r.tally.remaining, r.modules["last"].unfinished)
	}
	for _, m := range added {
		if m.unfinished != 1 || len(m.dependents) != 1 {
			t.Errorf("%s waits for %d and has %d dependents", m.def.Name, m.unfinished, len(m.dependents))
		}
	}
	if _, err := newRun(pipeline.Run{ID: "r"}, &pipeline.Pipeline{Modules: []pipeline.Module{{Name: "a", DependsOn: []string{"none"}}}}, nil); err == nil {
		t.Error("a dependency that is not there is accepted")
	}
}

// Locations are bounded, and only of modules with outputs.
func TestModule_locations(t *testing.T) {
	big := &moduleState{def: &pipeline.Module{Name: "big"}}
	big.setLocations(1<<30, []pipeline.NodeID{"w1"})
	none := &moduleState{def: &pipeline.Module{Name: "none"}}
	m := &moduleState{dependencies: []*moduleState{big, none}}
	for i := range 40 {
		m.addLocation(pipeline.NodeID(fmt.Sprintf("w%d", i%30)))
	}
	if n := len(big.product.locations); n != maxLocations || len(none.product.locations) != 0 {
		t.Errorf("%d and %d locations", n, len(none.product.locations))
	}
	in := inputsOf(m)
	if in == nil || in.Bytes != 1<<30 || len(in.Held) != maxLocations || !slices.IsSortedFunc(in.Held, func(a, b scheduler.Held) int {
		return strings.Compare(string(a.Worker), string(b.Worker))
	}) {
		t.Errorf("%+v", in)
	}
	big.setLocations(minInputs-1, nil)
	if in := inputsOf(m); in != nil {
		t.Errorf("small inputs count: %+v", in)
	}
}

// syncTransport counts comparisons and answers as it is set.
type syncTransport struct {
	mu  sync.Mutex // guards following
	n   int
	err error
	// heard is what the requests said of the worker's clock.
	heard []time.Duration
}

func (s *syncTransport) Sync(_ context.Context, _ pipeline.NodeID, in peer.SyncRequest) (peer.SyncResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.heard = append(s.heard, in.Heard)
	return peer.SyncResponse{Clock: time.Duration(s.n)}, s.err
}

func (s *syncTransport) Dispatch(context.Context, pipeline.NodeID, peer.DispatchRequest) (peer.DispatchResponse, error) {
	return peer.DispatchResponse{}, s.err
}

func (s *syncTransport) Stop(context.Context, pipeline.NodeID, peer.StopRequest) error { return s.err }

func (s *syncTransport) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Comparisons come at once, at the interval, and when they are asked for, but then
// at most ten times per interval.
func TestCourier_sync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		transport := &syncTransport{}
		c := &courier{transport: transport, timing: DefaultTiming(), tasks: &tasks{ctx: ctx}, inbox: newInbox(), logger: hclog.NewNullLogger()}
		l := &link{id: "w", name: "w", outbox: newOutbox()}
		c.start(l)
		synctest.Wait()
		if n := transport.count(); n != 2 {
			t.Errorf("%d comparisons at once, want one, and one that begins the lease", n)
		}
		<-time.After(10*time.Second + time.Millisecond)
		if n := transport.count(); n != 12 {
			t.Errorf("%d comparisons in ten intervals", n-2)
		}

		before := transport.count()
		for range 100 {
			poke(l.outbox.hurry)
			<-time.After(10 * time.Millisecond)
		}
		if n := transport.count() - before; n < 5 || n > 11 {
			t.Errorf("%d comparisons in one interval, hurried", n)
		}
		cancel()
		c.tasks.wait()
	})
}

// The lease counts from the last answer that the leader has heard: whatever arrives
// of the requests since then extends nothing. After an outage it begins at once.
func TestCourier_lease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		transport := &syncTransport{}
		c := &courier{transport: transport, timing: DefaultTiming(), tasks: &tasks{ctx: ctx}, inbox: newInbox(), logger: hclog.NewNullLogger()}
		c.start(&link{id: "w", name: "w", outbox: newOutbox()})
		for _, err := range []error{nil, context.DeadlineExceeded, nil} {
			synctest.Wait()
			transport.mu.Lock()
			transport.err = err
			transport.mu.Unlock()
			<-time.After(3*time.Second + time.Millisecond)
		}

		want := []time.Duration{0, 1, 2, 3, 4, 5, 5, 5, 5, 9, 10, 11}
		transport.mu.Lock()
		if diff := cmp.Diff(want, transport.heard[:min(len(transport.heard), len(want))]); diff != "" {
			t.Error(diff)
		}
		transport.mu.Unlock()
		cancel()
		c.tasks.wait()
	})
}

// Answers reach the loop: an error is noted on the link, and lost attempts are not
// left as being sent.
func TestCourier_errors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		transport := &syncTransport{err: fmt.Errorf("dial: %w", syscall.ECONNREFUSED)}
		compared := 0
		c := &courier{transport: transport, timing: DefaultTiming(), tasks: &tasks{ctx: ctx}, inbox: newInbox(), logger: hclog.NewNullLogger(),
			compare: func(*link, time.Time, peer.SyncResponse) { compared++ }}
		l := &link{id: "w", name: "w", outbox: newOutbox()}
		c.start(l)
		loop := func() {
			synctest.Wait()
			for _, fn := range c.inbox.take() {
				fn()
			}
		}

		a := &activeAttempt{id: pipeline.AttemptID{Run: "r", Module: "a", Attempt: 1}, sending: true}
		l.outbox.dispatch(a, pipeline.Spec{ID: a.id})
		loop()
		if a.sending || !a.sentAt.IsZero() || !l.refused || compared != 0 {
			t.Errorf("after an error: %+v, refused %v, compared %d", a, l.refused, compared)
		}

		transport.mu.Lock()
		transport.err = nil
		transport.mu.Unlock()
		a.sending = true
		l.outbox.dispatch(a, pipeline.Spec{ID: a.id})
		loop()
		if a.sending || a.sentAt.IsZero() || l.refused {
			t.Errorf("after a success: %+v, refused %v", a, l.refused)
		}
		<-time.After(time.Second)
		loop()
		if compared == 0 {
			t.Error("no comparison came through")
		}

		// A link that is closed ends, and with it its goroutines.
		l.cancel()
		c.tasks.wait()
		cancel()
		if isRefused(errors.New("timeout")) {
			t.Error("a timeout counts as a refusal")
		}
	})
}
