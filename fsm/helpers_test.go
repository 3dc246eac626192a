package fsm_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// at is when everything happens unless a test says otherwise. It has
// nanoseconds, so that a time which loses some is seen.
var at = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)

// tester is what the helpers need of *testing.T and *rapid.T.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// rig is a store that entries are applied to one by one.
type rig struct {
	*fsm.Store
	tb    tester
	index uint64
}

func newStore(tb testing.TB) *fsm.Store {
	tb.Helper()
	s, err := fsm.Open(tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func newRig(tb testing.TB) *rig { tb.Helper(); return &rig{Store: newStore(tb), tb: tb} }

// entry is a command as a log entry.
func entry(tb tester, index uint64, c *fsm.Command) *raft.Log {
	tb.Helper()
	if c.At.IsZero() {
		c.At = at
	}
	b, err := fsm.Encode(c)
	if err != nil {
		tb.Fatal(err)
	}
	return &raft.Log{Index: index, Term: 1 + index/10, Type: raft.LogCommand, Data: b}
}

// do applies a command as the next entry and returns its reply.
func (r *rig) do(c *fsm.Command) any {
	r.tb.Helper()
	r.index++
	return r.Apply(entry(r.tb, r.index, c))
}

// must applies commands none of which may be refused.
func (r *rig) must(cmds ...*fsm.Command) {
	r.tb.Helper()
	for i, c := range cmds {
		if why := refused(r.do(c)); why != "" {
			r.tb.Fatalf("command %d: %s", i, why)
		}
	}
}

// refused returns why a reply is a refusal; "" if it is none.
func refused(reply any) string {
	switch v := reply.(type) {
	case fsm.SubmitResult:
		if v.Err != nil {
			return pipeline.KindOf(v.Err).String() + ": " + v.Err.Error()
		}
	case fsm.Result:
		if v.Err != nil {
			return pipeline.KindOf(v.Err).String() + ": " + v.Err.Error()
		}
	case fsm.FireResult:
		if v.Err != nil {
			return pipeline.KindOf(v.Err).String() + ": " + v.Err.Error()
		}
	case fsm.BatchResult:
		if len(v.Refused) == 0 {
			return ""
		}
		if f := v.Refused[0]; f.Duplicate {
			return "duplicate: " + f.Reason
		}
		return v.Refused[0].Reason
	default:
		return fmt.Sprintf("a reply of type %T", reply)
	}

	return ""
}

func (r *rig) run(id string) pipeline.Run {
	r.tb.Helper()
	var run pipeline.Run
	var ok bool
	view(r.tb, r.Store, func(v *fsm.View) { run, ok = v.Run(pipeline.RunID(id)) })
	if !ok {
		r.tb.Fatalf("no run %s", id)
	}
	return run
}

func (r *rig) module(run, name string) pipeline.ModuleRecord {
	r.tb.Helper()
	var m pipeline.ModuleRecord
	view(r.tb, r.Store, func(v *fsm.View) { m = v.Module(pipeline.RunID(run), name) })
	return m
}

func view(tb tester, s *fsm.Store, fn func(*fsm.View)) {
	tb.Helper()
	if err := s.View(func(v *fsm.View) error { fn(v); return nil }); err != nil {
		tb.Fatal(err)
	}
}

// walk returns the whole state as lines.
func walk(tb tester, s *fsm.Store) []string {
	tb.Helper()
	var out []string
	err := s.Walk(func(bucket string, k, v []byte) error {
		out = append(out, fmt.Sprintf("%s %q %x", bucket, k, v))
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// content leaves out of a walk what every entry changes, and events.
func content(lines []string) []string {
	return slices.DeleteFunc(append([]string{}, lines...), func(l string) bool {
		return strings.HasPrefix(l, `meta "index"`) || strings.HasPrefix(l, `meta "term"`) ||
			strings.HasPrefix(l, "events ") || strings.HasPrefix(l, `meta "events`)
	})
}

func wantEqual(tb tester, what string, want, got []string) {
	tb.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// memorySink stores a snapshot in memory.
type memorySink struct {
	bytes.Buffer
	closed, cancelled bool
}

func (*memorySink) ID() string      { return "memory" }
func (s *memorySink) Close() error  { s.closed = true; return nil }
func (s *memorySink) Cancel() error { s.cancelled = true; return nil }

// capture returns the bytes of a snapshot.
func capture(tb tester, s *fsm.Store) []byte {
	tb.Helper()

	snap, err := s.Snapshot()
	if err != nil {
		tb.Fatal(err)
	}
	defer snap.Release()
	var sink memorySink
	if err := snap.Persist(&sink); err != nil {
		tb.Fatal(err)
	}

	if !sink.closed || sink.cancelled {
		tb.Fatalf("closed %v, cancelled %v; want the sink closed", sink.closed, sink.cancelled)
	}

	return sink.Bytes()
}

func restore(s *fsm.Store, snapshot []byte) error {
	return s.Restore(io.NopCloser(bytes.NewReader(snapshot)))
}

// within waits for a channel to be closed.
func within(tb tester, what string, ch <-chan struct{}) {
	tb.Helper()
	select {
	case <-ch:
	case <-time.After(30 * time.Second):
		tb.Fatalf("waited 30 s for %s", what)
	}
}

// Builders of commands.

func definition(tb tester, modules int) []byte {
	tb.Helper()
	p := &pipeline.Pipeline{Name: "p"}
	for i := range modules {
		p.Modules = append(p.Modules, pipeline.Module{Name: fmt.Sprintf("m%d", i)})
	}
	b, err := fsm.EncodeDefinition(p)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func submit(tb tester, id string, modules int) *fsm.Command {
	tb.Helper()
	return &fsm.Command{Submit: &fsm.Submit{Definition: definition(tb, modules), Fingerprint: "f",
		Run: pipeline.Run{ID: pipeline.RunID(id), Pipeline: "p", Modules: modules, Key: "key of " + id, Submitter: "ann"}}}
}

// batch puts elements of any part into one batch.
func batch(parts ...any) *fsm.Command {
	b := &fsm.Batch{}
	for _, p := range parts {
		switch p := p.(type) {
		case fsm.Start:
			b.Starts = append(b.Starts, p)
		case fsm.Outcome:
			b.Outcomes = append(b.Outcomes, p)
		case fsm.End:
			b.Ends = append(b.Ends, p)
		case fsm.Assign:
			b.Assigns = append(b.Assigns, p)
		case fsm.RunEnd:
			b.Runs = append(b.Runs, p)
		case fsm.Copies:
			b.Copies = append(b.Copies, p)
		case fsm.Expand:
			b.Expands = append(b.Expands, p)
		case fsm.Reopen:
			b.Reopens = append(b.Reopens, p)
		case fsm.Await:
			b.Awaits = append(b.Awaits, p)
		case fsm.Decide:
			b.Decides = append(b.Decides, p)
		default:
			panic(fmt.Sprintf("no part of a batch: %T", p))
		}
	}

	return &fsm.Command{Batch: b}
}

func attempt(run, module string, n int) pipeline.AttemptID {
	return pipeline.AttemptID{Run: pipeline.RunID(run), Module: module, Attempt: n}
}

func assign(run, module string, n int, needs ...string) fsm.Assign {
	return fsm.Assign{ID: attempt(run, module, n), Worker: "w1", WorkerName: "one", Incarnation: "i1", Needs: needs}
}

func locked(a fsm.Assign, keys ...string) fsm.Assign { a.Locks = keys; return a }

func start(run, module string, n int) fsm.Start {
	return fsm.Start{ID: attempt(run, module, n), At: at.Add(time.Second)}
}

// outcome ends an attempt; what the module becomes follows from the state: a
// loss and a failure make it wait again.
func outcome(run, module string, n int, s pipeline.AttemptState) fsm.Outcome {
	o := fsm.Outcome{Outcome: pipeline.Outcome{ID: attempt(run, module, n), Worker: "w1", State: s,
		StartedAt: at.Add(time.Second), FinishedAt: at.Add(2 * time.Second)}}
	switch s {
	case pipeline.AttemptSucceeded:
		o.Next = pipeline.ModuleSucceeded
		o.Outcome.Result, o.Outcome.Holders = []byte(`{"n":1}`), []pipeline.NodeID{"n1", "n2"}
		o.Outcome.OutputPaths, o.Outcome.OutputCount, o.Outcome.OutputBytes = []string{"out/a"}, 1, 5
	case pipeline.AttemptCancelled:
		o.Next = pipeline.ModuleCancelled
	default:
		o.Next, o.Reason, o.NotBefore = pipeline.ModuleWaiting, "again", at.Add(time.Minute)
	}

	return o
}

func end(run, module string, s pipeline.ModuleState) fsm.End {
	return fsm.End{Run: pipeline.RunID(run), Module: module, State: s, Reason: "because"}
}

func runEnd(run string, s pipeline.RunState) fsm.RunEnd {
	return fsm.RunEnd{Run: pipeline.RunID(run), State: s}
}

func reopen(run, module string, n int) fsm.Reopen {
	return fsm.Reopen{Run: pipeline.RunID(run), Module: module, Attempt: n, Reason: "what it left is gone"}
}

func await(run, module string, needs ...string) fsm.Await {
	return fsm.Await{Run: pipeline.RunID(run), Module: module, Message: "go?", Deadline: at.Add(time.Hour), Needs: needs}
}

func decide(run, module string, d pipeline.Decision) fsm.Decide {
	return fsm.Decide{Run: pipeline.RunID(run), Module: module, Decision: d, By: "ann", Reason: string(d) + " by ann"}
}

func decision(d fsm.Decide) *fsm.Command { return &fsm.Command{Decide: &d} }

func cancel(run string) *fsm.Command {
	return &fsm.Command{Cancel: &fsm.Cancel{Run: pipeline.RunID(run), Reason: "stop it"}}
}

func forget(runs ...pipeline.RunID) *fsm.Command {
	return &fsm.Command{Forget: &fsm.Forget{Runs: runs}}
}

type submitAt struct {
	id string
	at time.Time
}

// submitAll submits many runs in one batch of entries.
func (r *rig) submitAll(tb tester, list []*submitAt) {
	tb.Helper()

	var logs []*raft.Log
	for _, l := range list {
		r.index++
		c := submit(tb, l.id, 1)
		c.At = l.at
		logs = append(logs, entry(tb, r.index, c))
	}

	for i, reply := range applyAll(r.Store, logs) {
		if why := refused(reply); why != "" {
			tb.Fatalf("submission %d: %s", i, why)
		}
	}
}

// applyAll applies entries to a state whose disk is sound.
func applyAll(s *fsm.Store, logs []*raft.Log) []any {
	replies, err := s.ApplyBatch(logs)
	if err != nil {
		panic(err)
	}
	return replies
}
