package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// machine makes a random log of legal and illegal commands, applies it entry by
// entry and looks at what must always hold. At the end the same log goes
// through another store in batches, and through a snapshot in its middle.
type machine struct {
	tb   testing.TB
	s    *fsm.Store
	logs []*raft.Log
	// What was final before never changes, but by a retry.
	modules map[string]pipeline.ModuleRecord
	runs    map[pipeline.RunID]pipeline.Run
	// fences by attempt.
	fences map[pipeline.AttemptID]uint64
	// reopened counts how often each module was.
	reopened map[string]int
}

var (
	someRuns    = rapid.SampledFrom([]string{"r0", "r0", "r0", "r0", "r0", "r1", "r1", "c0", "gone"})
	someModules = rapid.SampledFrom([]string{"m0", "m1", "m2"})
	someWorkers = rapid.SampledFrom([]pipeline.NodeID{"w1", "w1", "w1", "w1", "w1", "w2", ""})
	someEnds    = rapid.SampledFrom([]pipeline.AttemptState{ok, ok, failed, timedOut, lost, lost, cancelled,
		pipeline.AttemptRunning, pipeline.AttemptSuperseded, "", "odd"})
	someStates = rapid.SampledFrom([]pipeline.ModuleState{pipeline.ModuleSkipped, pipeline.ModuleFailed, pipeline.ModuleCancelled,
		pipeline.ModuleCached, pipeline.ModuleSucceeded, pipeline.ModuleRunning, pipeline.ModuleWaiting, ""})
	someRunStates = rapid.SampledFrom([]pipeline.RunState{pipeline.RunSucceeded, pipeline.RunFailed, pipeline.RunCancelled,
		pipeline.RunWarnings, pipeline.RunRunning, ""})
)

var (
	someLocks     = rapid.SampledFrom([][]string{{"k1"}, {"k1", "k2"}, {"k2"}, {""}})
	someInstances = rapid.SampledFrom([][]pipeline.Instance{nil, {{Key: "a"}}, {{Key: "a"}, {Key: "b"}}, {{Key: ""}}})
)

const perRun = 3 // modules

// attemptOf draws an attempt of a module: mostly its last or its next.
func (m *machine) attemptOf(t *rapid.T, ahead int) (pipeline.AttemptID, *pipeline.Attempt) {
	id := attempt(someRuns.Draw(t, "run"), "", 0)
	id.Module = m.moduleOf(t, id.Run)
	var rec pipeline.ModuleRecord
	view(t, m.s, func(v *fsm.View) { rec = v.Module(id.Run, id.Module) })
	id.Attempt = len(rec.Attempts) + ahead + rapid.SampledFrom([]int{0, 0, 0, 0, 0, -1, 1}).Draw(t, "off")
	if id.Attempt >= 1 && id.Attempt <= len(rec.Attempts) {
		return id, &rec.Attempts[id.Attempt-1]
	}
	return id, nil
}

// moduleOf draws a module of a run, or an instance if there are some.
func (m *machine) moduleOf(t *rapid.T, run pipeline.RunID) string {
	name := someModules.Draw(t, "module")
	view(t, m.s, func(v *fsm.View) {
		if list := v.Module(run, name).Instances; len(list) > 0 && rapid.IntRange(0, 3).Draw(t, "block") > 0 {
			name = pipeline.InstanceName(name, rapid.SampledFrom(list).Draw(t, "instance").Key)
		}
	})
	return name
}

func (m *machine) part(t *rapid.T) any {
	switch rapid.SampledFrom([]string{"expand", "start", "outcome", "outcome", "outcome", "assign", "assign", "assign", "end", "run", "run", "copies", "late", "reopen", "await", "decide"}).Draw(t, "part") {
	case "start":
		id, _ := m.attemptOf(t, 0)
		return fsm.Start{ID: id, At: at}
	case "outcome":
		id, a := m.attemptOf(t, 0)
		o := fsm.Outcome{Next: rapid.OneOf(rapid.Just(pipeline.ModuleWaiting), rapid.Just(pipeline.ModuleSucceeded), someStates).Draw(t, "next"), Reason: "why",
			Outcome: pipeline.Outcome{ID: id, Worker: someWorkers.Draw(t, "worker"), State: someEnds.Draw(t, "state"), Result: []byte(`{}`)}}
		if a != nil && rapid.Bool().Draw(t, "fenced") {
			o.Outcome.Fence = a.Fence + uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "fence"))
		}
		return o
	case "late":
		id, _ := m.attemptOf(t, 0)
		view(t, m.s, func(v *fsm.View) {
			for _, a := range v.Module(id.Run, id.Module).Attempts {
				if a.State == lost {
					id.Attempt = a.Number
				}
			}
		})
		return outcome(string(id.Run), id.Module, id.Attempt, rapid.SampledFrom([]pipeline.AttemptState{ok, failed, lost}).Draw(t, "state"))
	case "assign":
		id, _ := m.attemptOf(t, 1)
		a := fsm.Assign{ID: id, Worker: someWorkers.Draw(t, "worker"), WorkerName: "x", Incarnation: "i"}
		if rapid.IntRange(0, 2).Draw(t, "needs") == 0 {
			a.Needs = []string{someModules.Draw(t, "need")}
			a.NotFailed = rapid.Bool().Draw(t, "not failed")
		}
		if rapid.IntRange(0, 2).Draw(t, "locks") == 0 {
			a.Locks = someLocks.Draw(t, "keys")
			a.LockHolders = rapid.SampledFrom([]map[string]int{nil, {"k1": 2}, {"k1": 3, "k2": 2}}).Draw(t, "holders")
		}
		return a
	case "expand":
		return fsm.Expand{Run: pipeline.RunID(someRuns.Draw(t, "run")), Module: rapid.SampledFrom([]string{"m1", "m2", ""}).Draw(t, "module"),
			Instances: someInstances.Draw(t, "instances")}
	case "end":
		id := pipeline.RunID(someRuns.Draw(t, "run"))
		e := end(string(id), m.moduleOf(t, id), someStates.Draw(t, "state"))
		e.Blocked = rapid.Bool().Draw(t, "blocked")
		return e
	case "run":
		return runEnd(someRuns.Draw(t, "run"), someRunStates.Draw(t, "state"))
	case "await":
		return await(someRuns.Draw(t, "run"), someModules.Draw(t, "module"), rapid.SampledFrom([][]string{nil, nil, {"m0"}}).Draw(t, "needs")...)
	case "decide":
		return m.decide(t)
	case "reopen":
		id, _ := m.attemptOf(t, 0)
		return reopen(string(id.Run), id.Module, id.Attempt)
	default:
		id, _ := m.attemptOf(t, 0)
		return fsm.Copies{ID: id, Holders: []pipeline.NodeID{"n1", "n2"}}
	}
}

func (m *machine) decide(t *rapid.T) fsm.Decide {
	return decide(someRuns.Draw(t, "run"), someModules.Draw(t, "module"),
		rapid.SampledFrom([]pipeline.Decision{pipeline.Approved, pipeline.Rejected, pipeline.Skipped, "odd", ""}).Draw(t, "decision"))
}

func (m *machine) command(t *rapid.T) *fsm.Command {
	switch rapid.SampledFrom([]string{"batch", "batch", "batch", "batch", "batch", "batch", "batch", "batch", "batch", "batch", "batch", "batch", "batch", "submit", "submit", "submit", "cancel", "retry", "retry", "forget", "worker", "token", "decide", "spawn", "spawn", "spawn"}).Draw(t, "command") {
	case "submit":
		c := submit(t, someRuns.Draw(t, "run"), perRun)
		c.Submit.Run.Key = rapid.SampledFrom([]string{"", "", "k1", "k2"}).Draw(t, "key")
		c.Submit.Fingerprint = rapid.SampledFrom([]pipeline.Digest{"f", "g"}).Draw(t, "fingerprint")
		return c
	case "cancel":
		c := cancel(someRuns.Draw(t, "run"))
		c.Cancel.Request = rapid.SampledFrom([]string{"", "q1", "q2"}).Draw(t, "request")
		c.Cancel.TimedOut = rapid.IntRange(0, 3).Draw(t, "timed out") == 0
		return c
	case "decide":
		return decision(m.decide(t))
	case "spawn":
		c := spawn(t, someRuns.Draw(t, "run"), someModules.Draw(t, "module"), rapid.IntRange(1, 2).Draw(t, "number"), rapid.SampledFrom([]string{"r1", "c0"}).Draw(t, "child"))
		c.Spawn.Child.Modules, c.Spawn.Definition = perRun, definition(t, perRun)
		c.Spawn.Always, c.Spawn.Retry.Attempts = rapid.Bool().Draw(t, "always"), rapid.IntRange(0, 2).Draw(t, "tries")
		return c
	case "retry":
		return &fsm.Command{Retry: m.retry(t)}
	case "forget":
		f := forget(pipeline.RunID(someRuns.Draw(t, "run")))
		if rapid.Bool().Draw(t, "keys too") {
			f.Forget.KeyLife = rapid.Uint64Range(1, 3).Draw(t, "key life")
		}
		return f
	case "worker":
		return &fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: someWorkers.Draw(t, "worker"), Draining: true, AwayUntil: at},
			Only: rapid.SampledFrom([]string{"", "drain", "away", "stop", "evacuated", "back", "odd"}).Draw(t, "only"), Delete: rapid.Bool().Draw(t, "delete")}}
	case "token":
		return &fsm.Command{Token: &fsm.Token{Delete: rapid.Bool().Draw(t, "delete"),
			Record: fsm.TokenRecord{ID: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "id"), Hash: []byte{1}}}}
	}

	var parts []any
	for range rapid.IntRange(1, 5).Draw(t, "parts") {
		parts = append(parts, m.part(t))
	}

	return batch(parts...)
}

// step adds some entries, so that logs get long enough for runs to end.
func (m *machine) step(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "entries") {
		m.add(t)
		m.check(t)
	}
}

func (m *machine) add(t *rapid.T) {
	index := uint64(len(m.logs) + 1)
	l := &raft.Log{Index: index, Term: 1, Type: raft.LogConfiguration}
	c := &fsm.Command{}
	if rapid.IntRange(0, 15).Draw(t, "no command") > 0 {
		c = m.command(t)
		l = entry(t, index, c)
	}
	m.logs = append(m.logs, l)
	before := lookAt(t, m.s)
	reply := m.s.Apply(l)
	checkEvents(t, m.s, index, before, lookAt(t, m.s))
	if c.Retry != nil && refused(reply) == "" {
		m.noteRetried(t, c.Retry)
	}
	if c.Batch != nil {
		m.noteReopened(t, c.Batch, reply.(fsm.BatchResult))
	}
}

// retry draws a retry: mostly of a finished run, of some of its modules.
func (m *machine) retry(t *rapid.T) *fsm.Retry {
	op := &fsm.Retry{Run: pipeline.RunID(someRuns.Draw(t, "run"))}
	view(t, m.s, func(v *fsm.View) {
		run, _ := v.Run(op.Run)
		op.Tries = run.Tries + rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "tries")
		for range rapid.IntRange(0, 3).Draw(t, "names") {
			op.Modules = append(op.Modules, m.moduleOf(t, op.Run))
		}
	})
	return op
}

// noteRetried forgets the modules that wait again after a retry. The failures that
// it leaves out are marked, and only they are.
func (m *machine) noteRetried(t *rapid.T, op *fsm.Retry) {
	view(t, m.s, func(v *fsm.View) {
		run, _ := v.Run(op.Run)
		prefix := fmt.Sprintf("%s/%d", run.ID, run.Number)
		delete(m.runs, pipeline.RunID(prefix))
		for _, name := range op.Modules {
			where := prefix + "/" + name
			delete(m.modules, where)
			delete(m.reopened, where)
			for key := range m.modules {
				if strings.HasPrefix(key, where+"[") {
					delete(m.modules, key)
				}
			}
			for id := range m.fences {
				if strings.HasPrefix(string(id.Run), where+"[") {
					delete(m.fences, id)
				}
			}
		}

		for key, rec := range m.modules {
			if strings.HasPrefix(key, prefix+"/") && rec.State == pipeline.ModuleFailed {
				rec.Earlier = true
				m.modules[key] = rec
			}
		}
	})
}

// looked is what events are compared with: the states of runs, by id and number, and of
// attempts.
type looked map[string]string

func lookAt(t *rapid.T, s *fsm.Store) looked {
	out := looked{}
	view(t, s, func(v *fsm.View) {
		v.Runs(0, func(run pipeline.Run) bool {
			key := fmt.Sprintf("%s %d", run.ID, run.Number)
			out[key] = string(run.State)
			for name, rec := range v.Modules(run.ID) {
				for _, a := range rec.Attempts {
					out[fmt.Sprintf("%s %s %d", key, name, a.Number)] = string(a.State)
				}
			}
			return true
		})
	})
	return out
}

// checkEvents: an entry tells each run that it made and ended, each attempt that it
// ended badly, and nothing else of the kind.
func checkEvents(t *rapid.T, s *fsm.Store, index uint64, before, after looked) {
	want, got := map[string]int{}, map[string]int{}
	for key, state := range after {
		was, known := before[key]
		switch isRun := strings.Count(key, " ") == 1; {
		case isRun && !known:
			want["run.queued "+key]++
		case isRun && was != state && pipeline.RunState(state).Final():
			want["run.finished "+key+" "+state]++
		case !isRun && was != state && (state == string(failed) || state == string(timedOut) || state == string(lost)):
			want["attempt.finished "+key+" "+state]++
		case !isRun && state == string(pipeline.AttemptSuperseded) && was != state && was != string(lost):
			want["attempt.finished "+key+" "+string(lost)]++ // and its outcome came in the same entry
		}
	}
	list, _ := eventsOf(t, s, index-1)
	for i := range list {
		e := &list[i]
		if e.Index != index || e.N != i || e.Type.Kind().Name == "" {
			t.Fatalf("entry %d has the event %s", index, eventLine(e))
		}
		key := fmt.Sprintf("%s %s %d", e.Type.Kind().Name, e.Run, e.Number)
		switch {
		case e.Type == pipeline.EventRunQueued:
			got[key]++
		case e.Type == pipeline.EventRunFinished:
			got[key+" "+e.State]++
		case e.Type == pipeline.EventAttemptFinished && e.Attempt > 0:
			got[fmt.Sprintf("%s %s %d %s", key, e.Module, e.Attempt, e.State)]++
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("events of entry %d (-want +got):\n%s", index, diff)
	}
}

// checkLocks: a key has no more holders than each allows, which are live attempts that
// say so.
func checkLocks(t *rapid.T, v *fsm.View) {
	type holding struct {
		key string
		id  pipeline.AttemptID
	}
	held := map[holding]bool{}
	for _, l := range v.Locks() {
		for _, h := range l.Holders {
			held[holding{l.Key, h.Attempt}] = true
			rec := v.Module(h.Attempt.Run, h.Attempt.Module)
			if a := rec.Last(); a == nil || a.Number != h.Attempt.Attempt || a.State.Final() || !slices.Contains(a.Locks, l.Key) {
				t.Fatalf("%q is held by %s, whose module is %+v", l.Key, h.Attempt, rec)
			}
			if len(l.Holders) > h.Limit {
				t.Fatalf("%q has %d holders, %+v", l.Key, len(l.Holders), l.Holders)
			}
		}
	}
	for _, run := range v.Active() {
		for name, rec := range v.Modules(run.ID) {
			if a := rec.Last(); a != nil && !a.State.Final() {
				for _, key := range a.Locks {
					if id := (pipeline.AttemptID{Run: run.ID, Module: name, Attempt: a.Number}); !held[holding{key, id}] {
						t.Fatalf("%s runs with %q and does not hold it", id, key)
					}
				}
			}
		}
	}
}

// noteReopened forgets the modules that are no longer final.
func (m *machine) noteReopened(t *rapid.T, b *fsm.Batch, res fsm.BatchResult) {
	no := map[int]bool{}
	for _, f := range res.Refused {
		if f.Part == fsm.PartReopen {
			no[f.At] = true
		}
	}
	view(t, m.s, func(v *fsm.View) {
		for i, op := range b.Reopens {
			if run, found := v.Run(op.Run); found && !no[i] {
				where := fmt.Sprintf("%s/%d/%s", run.ID, run.Number, op.Module)
				m.reopened[where]++
				delete(m.modules, where)
			}
		}
	})
}

// check looks at everything that must hold after every entry.
func (m *machine) check(t *rapid.T) {
	view(t, m.s, func(v *fsm.View) {
		active := map[pipeline.RunID]bool{}
		for _, run := range v.Active() {
			active[run.ID] = true
		}
		checkLocks(t, v)
		var last uint64
		v.Runs(0, func(run pipeline.Run) bool {
			if last != 0 && run.Number >= last {
				t.Fatalf("run %s has number %d after %d", run.ID, run.Number, last)
			}
			last = run.Number
			if active[run.ID] == run.State.Final() {
				t.Fatalf("run %s is %s, active: %v", run.ID, run.State, active[run.ID])
			}
			delete(active, run.ID)
			m.checkRun(t, v, run)
			return true
		})
		if len(active) > 0 {
			t.Fatalf("active and not there: %v", active)
		}
	})
}

func (m *machine) checkRun(t *rapid.T, v *fsm.View, run pipeline.Run) {
	checkSince(t, v, run.ID, uint64(rapid.IntRange(0, len(m.logs)).Draw(t, "since")))

	done, bad, live, newest := 0, 0, 0, uint64(0)
	records := v.Modules(run.ID)
	checkChildren(t, v, run, records)
	for name, rec := range records {
		if rec.State.Final() {
			done++
		}
		if rec.State == pipeline.ModuleFailed || rec.State == pipeline.ModuleCancelled {
			bad++
		}
		for i := range rec.Attempts {
			if !rec.Attempts[i].State.Final() {
				live++
			}
		}
		newest = max(newest, rec.Index)
		m.checkModule(t, run, name, *rec)
	}

	switch {
	case run.Done != done || run.Failed != bad:
		t.Fatalf("run %s counts %d done and %d failed; its records say %d and %d", run.ID, run.Done, run.Failed, done, bad)
	case run.Live != live:
		t.Fatalf("run %s counts %d live attempts; its records have %d", run.ID, run.Live, live)
	case run.State.Final() && done != run.Modules:
		t.Fatalf("run %s is %s with %d of %d modules done", run.ID, run.State, done, run.Modules)
	case run.State.Final() == run.FinishedAt.IsZero():
		t.Fatalf("run %s is %s, and finished at %v", run.ID, run.State, run.FinishedAt)
	case run.Index < newest:
		t.Fatalf("run %s has index %d, a module of it %d", run.ID, run.Index, newest)
	}

	key := pipeline.RunID(fmt.Sprintf("%s/%d", run.ID, run.Number))
	run.Index = 0 // moves with what is added to the history

	if before, was := m.runs[key]; was {
		if diff := cmp.Diff(before, run); diff != "" {
			t.Fatalf("run %s was final, and changed:\n%s", run.ID, diff)
		}
	}

	if run.State.Final() {
		m.runs[key] = run
	}
}

func (m *machine) checkModule(t *rapid.T, run pipeline.Run, name string, rec pipeline.ModuleRecord) {
	where := fmt.Sprintf("%s/%d/%s", run.ID, run.Number, name)
	failures, losses, live := 0, 0, 0
	for i, a := range rec.Attempts {
		if i < rec.Tried && (a.State.Final() || a.Number != i+1) {
			continue // of an earlier try of the run
		}
		if a.Number != i+1 {
			t.Fatalf("%s: attempt %d stands at place %d", where, a.Number, i+1)
		}
		switch a.State {
		case failed, timedOut:
			failures++
		case lost, pipeline.AttemptSuperseded:
			losses++
		case pipeline.AttemptAssigned, pipeline.AttemptRunning:
			live++
			if i != len(rec.Attempts)-1 {
				t.Fatalf("%s: attempt %d is %s, and not the last", where, a.Number, a.State)
			}
		case ok, cancelled:
		default:
			t.Fatalf("%s: attempt %d is %q", where, a.Number, a.State)
		}
		id := pipeline.AttemptID{Run: pipeline.RunID(where), Attempt: a.Number}
		if fence, was := m.fences[id]; was && fence != a.Fence || a.Fence == 0 || a.Worker == "" {
			t.Fatalf("%s: attempt %d of %q has fence %d, had %d", where, a.Number, a.Worker, a.Fence, fence)
		}
		m.fences[id] = a.Fence
	}

	if rec.LiveChild() != nil {
		live++
	}
	if len(rec.Children) > 0 {
		failures = rec.Failures // those of children count, which a retry does not reset
	}

	switch {
	case live > 1 || live == 1 != (rec.State == pipeline.ModuleRunning):
		t.Fatalf("%s is %s with %d live attempts", where, rec.State, live)
	case rec.Failures != failures || rec.Losses != losses+m.reopened[where]:
		t.Fatalf("%s counts %d failures and %d losses, its attempts say %d and %d", where, rec.Failures, rec.Losses, failures, losses)
	case rec.ApprovalWait != nil && (len(rec.Attempts) > 0 || rec.ApprovalWait.Decision != "" && rec.State != rec.ApprovalWait.Decision.State()):
		t.Fatalf("%s is %s with %d attempts and the decision %+v", where, rec.State, len(rec.Attempts), rec.ApprovalWait)
	case !rec.State.Final() && rec.State != pipeline.ModuleWaiting && rec.State != pipeline.ModuleRunning:
		t.Fatalf("%s is %q", where, rec.State)
	}

	rec.Attempts, rec.Index = nil, 0 // the history may grow: copies, late outcomes
	if before, was := m.modules[where]; was {
		if diff := cmp.Diff(before, rec); diff != "" {
			t.Fatalf("%s was final, and changed:\n%s", where, diff)
		}
	}

	if rec.State.Final() {
		m.modules[where] = rec
	}
}

// replay sends the log through other stores, in random batches, with a snapshot
// and a restore between two of them.
func (m *machine) replay(t *rapid.T) {
	want := walk(t, m.s)
	other, restored := m.open(t), m.open(t)
	defer other.Close()
	defer restored.Close()
	k := rapid.IntRange(0, len(m.logs)).Draw(t, "snapshot after")
	for from := 0; from < len(m.logs); {
		to := min(from+rapid.IntRange(1, 12).Draw(t, "size"), len(m.logs))
		if from < k && k <= to {
			to = k
		}
		if n := len(applyAll(other, m.logs[from:to])); n != to-from {
			t.Fatalf("%d replies to %d entries", n, to-from)
		}
		from = to
		if to == k {
			if err := restore(restored, capture(t, other)); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantEqual(t, "one by one against batches", want, walk(t, other))
	applyAll(restored, m.logs) // what the snapshot holds is skipped
	wantEqual(t, fmt.Sprintf("a snapshot after entry %d and the rest", k), want, walk(t, restored))
}

func (m *machine) open(t tester) *fsm.Store {
	s, err := fsm.Open(m.tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestApply_machine(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{tb: t, modules: map[string]pipeline.ModuleRecord{}, runs: map[pipeline.RunID]pipeline.Run{}, fences: map[pipeline.AttemptID]uint64{}, reopened: map[string]int{}}
		m.s = m.open(rt)
		defer fsm.SetEventLimits(24, 4<<20)()
		defer m.s.Close()
		rt.Repeat(map[string]func(*rapid.T){"entries": m.step})
		m.replay(rt)
		m.tally(reached)
	})
	// The log must be worth something: it has to get far in the life of a run.
	for _, state := range []string{"module succeeded", "module running", "run cancelling", "attempt superseded", "attempt running", "run final", "expanded", "retried", "locked", "forced"} {
		if reached[state] == 0 {
			t.Errorf("no random log ever came to %q: %v", state, reached)
		}
	}
}

// tally counts what states the log reached.
func (m *machine) tally(count map[string]int) {
	for _, r := range m.runs {
		if r.State.Final() {
			count["run final"]++
		}
	}
	view(m.tb, m.s, func(v *fsm.View) {
		count["locked"] += len(v.Locks())
		v.Runs(0, func(run pipeline.Run) bool {
			count["run "+strings.ToLower(string(run.State))]++
			if run.Tries > 0 {
				count["retried"]++
			}
			if run.Forced {
				count["forced"]++
			}
			for _, rec := range v.Modules(run.ID) {
				count["module "+string(rec.State)]++
				if len(rec.Instances) > 0 {
					count["expanded"]++
				}
				for _, a := range rec.Attempts {
					count["attempt "+string(a.State)]++
				}
			}
			return true
		})
	})
}
