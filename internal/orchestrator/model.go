package orchestrator

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// run is the model of a live run: the state, ahead by what is in flight.
type run struct {
	head pipeline.Run
	def  *pipeline.Pipeline
	mods map[string]*mod
	list []*mod // in the order of the source
	// queue holds what is ready; queue.Running counts what is live.
	queue     scheduler.Run
	remaining int // modules that are not final
	failed    int
	cancelled int
	// heads are the attempts that occupy a slot.
	heads []*live
	// pace is the recent duration of the run's attempts, over paced of them.
	pace  time.Duration
	paced int
	// warnings counts the failures that are ignored, broken is the first module
	// whose failure is not.
	warnings int
	broken   string
	// stopping names the failed module after which nothing new starts.
	stopping string
	// lockers are the modules that need locks.
	lockers []*mod
	// gates are the modules that wait for an approval, and some that did.
	gates []*mod
	// waitingSince is since when something is ready and nothing of the run was
	// placed; zero where that is not so.
	waitingSince time.Time
	// inflight counts proposals that touch the run; while stale, the run waits
	// for them and is then read anew.
	inflight int
	stale    bool
	ended    bool // its end is proposed
	expiring bool // its end for the sake of its timeout is proposed
	why      map[scheduler.Class]scheduler.Why
	// near has what waits for a slot where its inputs are; large is set once a
	// module of the run has large inputs.
	near  map[string]scheduler.LocalityWait
	large bool
	// held is why the run waits for its turn; "" where it does not.
	held string
	// confidential runs need the vault.
	confidential bool
}

func (r *run) cancelling() bool { return r.head.State == pipeline.RunCancelling }

// deadline is when the run's time is over; zero where it has no timeout or has
// not started.
func (r *run) deadline() time.Time {
	from := r.head.StartedAt
	if r.unstarted() {
		return time.Time{} // its turn has not come
	}
	if r.head.RetriedAt.After(from) {
		from = r.head.RetriedAt
	}
	if r.def.Timeout <= 0 || from.IsZero() {
		return time.Time{}
	}
	return from.Add(r.def.Timeout)
}

// spared reports whether the module runs although its run is being cancelled.
func (m *mod) spared() bool { return m.def.AlwaysRun && !m.run.head.Forced && !m.run.unstarted() }

// cancelReason is what modules of a cancelled run are told.
func (r *run) cancelReason() string {
	switch {
	case r.head.TimedOut:
		return r.head.Reason
	case r.head.Reason == "":
		return "the run was cancelled"
	}
	return "the run was cancelled: " + r.head.Reason
}

// mod is the model of one module.
type mod struct {
	run   *run
	def   *pipeline.Module
	order int
	rank  int

	state      pipeline.ModuleState
	attempts   int
	failures   int
	losses     int
	notBefore  time.Time
	avoid      pipeline.NodeID
	waits      int // dependencies that are not final
	deps       []*mod
	dependents []*mod
	live       *live
	queued     bool
	// settled is set once the final state is known to be applied; until then
	// assignments name it in their Needs.
	settled bool

	// What dependents need of it.
	outputs     pipeline.Digest
	outputPaths []string
	holders     []pipeline.NodeID
	outputBytes int64
	at          []pipeline.NodeID // nodes that have the outputs, as far as is known
	result      []byte
	exitCode    *int
	duration    time.Duration

	evaluated  *pipeline.Evaluated
	evaluating bool

	// expected is how long it takes by earlier runs; 0 where that is not known.
	expected time.Duration
	// inputs is set when it becomes ready, where they are large.
	inputs *scheduler.Inputs

	// gate is set from when the module waits for its approval.
	gate *gate
	// note is set once no recorded result was found; blind where none was looked
	// for. again is set where the module had succeeded and is to run once more.
	note         *pipeline.CacheLookup
	blind, again bool
	// looking while a recorded result is looked for, behind while another module
	// does the same work. ownedAt is since when this one does it.
	looking bool
	behind  *mod
	ownedAt time.Time

	// wants is set while the module is ready but for its locks, granted from when
	// it has been given them until its attempt ends. endedAt is when it, or its
	// last attempt, ended.
	wants, granted bool
	endedAt        time.Time
}

// live is an attempt that is assigned or running.
type live struct {
	mod         *mod
	id          pipeline.AttemptID
	worker      pipeline.NodeID
	incarnation string
	fence       uint64 // 0 until the assignment is applied
	assignedAt  time.Time
	startedAt   time.Time
	evaluated   *pipeline.Evaluated
	note        *pipeline.CacheLookup // of the assignment
	localBytes  int64                 // fsm.Assign's
	// sent is when the last dispatch of it was answered; zero before. queued
	// while it waits in its link.
	sent   time.Time
	queued bool
	// after is the live attempt behind which it is queued on the same worker,
	// next the one that is queued behind it. counted says that it occupies a slot.
	after, next *live
	counted     bool
	// stop is why it is being stopped, "" where it is not.
	stop string
	// late marks one that is not the module's live attempt.
	late bool
	// ending holds those who wait for the fate of an outcome that is in flight.
	ending  bool
	waiters []waiting
}

type waiting struct {
	w *waiter
	i int
}

// loadRun builds the model of a run from the state.
func loadRun(v *fsm.View, head pipeline.Run) (*run, error) {
	def, err := v.Definition(head.ID)
	if err != nil {
		return nil, err
	}
	if len(def.Modules) > head.Modules {
		return nil, fmt.Errorf("run %s: definition has %d modules, its head says %d", head.ID, len(def.Modules), head.Modules)
	}
	r, err := newRun(head, def, v.Expected(head.Pipeline, def.Modules))
	if err != nil {
		return nil, err
	}
	_, r.held = v.WaitsFor(&head)
	recs := v.Modules(head.ID)
	for _, m := range r.list {
		if rec := recs[m.def.Name]; rec != nil && rec.Expanded {
			m.expand(rec.Instances)
		}
	}
	for name, rec := range recs {
		if m := r.mods[name]; m != nil {
			m.load(rec)
		}
	}
	r.linkQueued(recs)
	return r, nil
}

// newRun builds the model of a run to which nothing has happened. expected is
// how long its modules take, as far as that is known; nil is nothing.
func newRun(head pipeline.Run, def *pipeline.Pipeline, expected []time.Duration) (*run, error) {
	r := &run{head: head, def: def, mods: make(map[string]*mod, len(def.Modules)), remaining: len(def.Modules), confidential: confidential(def)}
	r.queue.ID, r.queue.Number, r.queue.MaxParallel = head.ID, head.Number, def.MaxParallel
	ranks := scheduler.Ranks(def, scheduler.Guess(expected))
	for i := range def.Modules {
		m := &mod{run: r, def: &def.Modules[i], order: i, rank: ranks[i], state: pipeline.ModuleWaiting}
		if expected != nil {
			m.expected = expected[i]
		}
		r.add(m)
	}
	for _, m := range r.list {
		for _, name := range m.def.DependsOn {
			d := r.mods[name]
			if d == nil {
				return nil, fmt.Errorf("run %s: module %s depends on %s, which it does not have", head.ID, m.def.Name, name)
			}
			m.deps = append(m.deps, d)
			d.dependents = append(d.dependents, m)
		}
		m.waits = len(m.deps)
	}
	return r, nil
}

func (r *run) add(m *mod) {
	r.mods[m.def.Name] = m
	r.list = append(r.list, m)
	if len(m.def.Locks) > 0 {
		r.lockers = append(r.lockers, m)
	}
}

// expand adds the instances of a module: they depend on what it depends on, and
// what depends on it waits for them too.
func (m *mod) expand(list []pipeline.Instance) []*mod {
	r := m.run
	added := make([]*mod, 0, len(list))
	for _, x := range list {
		def := m.def.Instance(x)
		one := &mod{run: r, def: &def, order: m.order, rank: m.rank, state: pipeline.ModuleWaiting, deps: m.deps, waits: m.waits,
			expected: m.expected}
		one.dependents = append([]*mod(nil), m.dependents...)
		r.add(one)
		added = append(added, one)
		r.remaining++
	}
	for _, d := range m.deps {
		d.dependents = append(d.dependents, added...)
	}
	for _, d := range m.dependents {
		d.deps = append(d.deps, added...)
		d.waits += len(added)
	}
	return added
}

// load takes a record of the state into the model.
func (m *mod) load(rec *pipeline.ModuleRecord) {
	m.state, m.attempts = rec.State, len(rec.Attempts)
	m.failures, m.losses, m.notBefore = rec.Failures, rec.Losses, rec.NotBefore
	last := rec.Last()
	if last != nil && last.State == pipeline.AttemptLost {
		m.avoid = last.Worker
	}
	m.loadGate(rec)
	m.endedAt = rec.FinishedAt
	if last != nil && last.FinishedAt.After(m.endedAt) {
		m.endedAt = last.FinishedAt
	}
	m.again = rec.Tried > 0 && rec.Tried <= len(rec.Attempts) && rec.Attempts[rec.Tried-1].State == pipeline.AttemptSucceeded
	if m.state.Final() {
		took := rec.FinishedAt.Sub(rec.StartedAt)
		if m.state == pipeline.ModuleCached {
			took = rec.Recorded
		}
		m.keep(rec.Outputs, rec.OutputPaths, rec.Result, rec.ExitCode, took)
		if last != nil {
			m.holders = last.Holders
			m.left(rec.OutputBytes, last.Holders)
		}
		m.settled = true
		m.countFinal()
		return
	}
	if last != nil && !last.State.Final() {
		m.live = &live{mod: m, id: pipeline.AttemptID{Run: m.run.head.ID, Module: m.def.Name, Attempt: last.Number},
			worker: last.Worker, incarnation: last.Incarnation, fence: last.Fence, evaluated: last.Evaluated,
			assignedAt: last.AssignedAt, startedAt: last.StartedAt}
		m.granted = len(last.Locks) > 0
		m.note = last.Cache
	}
}

// linkQueued finds, once all modules are loaded, which attempts wait behind
// which. One whose predecessor is over has the slot.
func (r *run) linkQueued(recs map[string]*pipeline.ModuleRecord) {
	for name, rec := range recs {
		m := r.mods[name]
		if m == nil || m.live == nil {
			continue
		}
		if after := rec.Last().After; after != nil {
			if p := r.mods[after.Module]; p != nil && p.live != nil && p.live.id == *after && p.live.worker == m.live.worker {
				m.live.after, p.live.next = p.live, m.live
				continue
			}
		}
		r.occupy(m.live)
		r.queue.Running++
	}
}

// occupy and vacate keep heads; the counters are the caller's.
func (r *run) occupy(l *live) {
	l.counted = true
	r.heads = append(r.heads, l)
}

func (r *run) vacate(l *live) {
	l.counted = false
	for i, h := range r.heads {
		if h == l {
			r.heads = append(r.heads[:i], r.heads[i+1:]...)
			return
		}
	}
}

// runsOn reports whether the module has a live attempt that occupies a slot of
// a worker.
func (m *mod) runsOn(id pipeline.NodeID) bool {
	return m.live != nil && m.live.counted && m.live.worker == id
}

// keep notes what dependents may ask of a module that ended. Results are kept
// only where an expression may need them.
func (m *mod) keep(outputs pipeline.Digest, paths []string, result []byte, exit *int, d time.Duration) {
	m.outputs, m.exitCode, m.duration = outputs, exit, d
	for _, dep := range m.dependents {
		if len(dep.def.Late) > 0 {
			m.result, m.outputPaths = result, paths
			break
		}
	}
}

// countFinal adjusts the run's counters for a module that became final, and
// those of its dependents.
func (m *mod) countFinal() {
	r := m.run
	r.remaining--
	switch m.state {
	case pipeline.ModuleFailed:
		if m.def.IgnoreFailure {
			r.warnings++
			break
		}
		r.failed++
		if r.broken == "" {
			r.broken = m.def.Name
		}
		if r.stopping == "" && r.def.OnFailure != pipeline.OnFailureContinue {
			r.stopping = m.def.Name
		}
	case pipeline.ModuleCancelled:
		r.cancelled++
	}
	for _, d := range m.dependents {
		d.waits--
	}
}

// class is where the module may go.
func (m *mod) class() scheduler.Class {
	c := scheduler.ClassOf(m.def.Requires, m.def.Resources, m.run.head.PinWorker)
	c.Avoid, c.Alone, c.Private = m.avoid, len(m.def.Locks) > 0 || m.inputs != nil, m.private()
	return c
}

// blocked says for the sake of which dependency the module must be skipped; ""
// where there is none.
func (m *mod) blocked() string {
	if m.def.AlwaysRun {
		return ""
	}
	for _, d := range m.deps {
		switch d.state {
		case pipeline.ModuleFailed:
			return fmt.Sprintf("dependency %s failed", d.def.Name)
		case pipeline.ModuleSkipped, pipeline.ModuleCancelled:
			return fmt.Sprintf("dependency %s was %s", d.def.Name, d.state)
		}
	}
	return ""
}

// spec is what the worker of a live attempt is told, with what its late
// expressions came to. The same for every dispatch of it.
func (l *live) spec(term uint64, e *pipeline.Evaluated) pipeline.Spec {
	m, r := l.mod, l.mod.run
	d := m.def
	s := pipeline.Spec{ID: l.id, Pipeline: r.head.Pipeline, Fence: l.fence, Term: term, Incarnation: l.incarnation,
		Command: d.Command, Script: d.Script, Env: d.Env,
		Workspace: r.head.Workspace, Inputs: d.Inputs, InputsAll: d.InputsAll, Layout: d.Layout, WorkingDir: d.WorkingDir,
		Outputs: d.Outputs, OutputsOptional: d.OutputsOptional, Timeout: d.Timeout, Grace: d.Grace, Caches: d.Caches,
		IdleTimeout: d.IdleTimeout, OnDisconnect: d.OnDisconnect, Hooks: d.Hooks, Resources: d.Resources,
		Holders: r.head.Holders}
	if l.after != nil {
		s.After = &l.after.id
	}
	if e != nil {
		if e.Command != nil {
			s.Command = e.Command
		}
		if e.Script != "" {
			s.Script = e.Script
		}
		if e.Env != nil {
			s.Env = merged(d.Env, e.Env)
		}
	}
	if d.Hook != "" {
		// A hook depends on all modules, but not for the sake of their files.
		s.Status = m.hookStatus()
		return s
	}
	for _, dep := range m.deps {
		if dep.outputs != "" {
			s.Upstream = append(s.Upstream, pipeline.Upstream{Module: dep.def.Name, Outputs: dep.outputs, Holders: dep.holders})
		}
	}
	return s
}

func merged(a, b map[string]string) map[string]string {
	if len(a) == 0 {
		return b
	}
	out := make(map[string]string, len(a)+len(b))
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		out[k] = v
	}
	return out
}
