package orchestrator

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// model holds the active runs. The loop alone reads and changes it.
type model struct {
	runs map[pipeline.RunID]*run
}

func newModel() *model { return &model{runs: map[pipeline.RunID]*run{}} }

// isCurrent reports whether a run is still in the model. What came back from
// another goroutine may be about a run that ended or was read again since.
func (m *model) isCurrent(r *run) bool { return m.runs[r.head.ID] == r }

// activeAttempts counts them.
func (m *model) activeAttempts() (n int) {
	for _, r := range m.runs {
		for _, x := range r.list {
			if x.active != nil {
				n++
			}
		}
	}
	return n
}

// attempt finds an active attempt on a worker; nil if there is none.
func (m *model) attempt(id pipeline.AttemptID, worker pipeline.NodeID) *activeAttempt {
	// The attempt must match whole: an older one of the same module is superseded.
	r := m.runs[id.Run]
	if r == nil || r.modules[id.Module] == nil {
		return nil
	}

	a := r.modules[id.Module].active
	if a == nil || a.id != id || a.worker != worker {
		return nil
	}
	return a
}

// attemptsOn lists the active attempts of a worker, queued ones included. Runs
// that are about to be read again are left out.
func (m *model) attemptsOn(id pipeline.NodeID) []*activeAttempt {
	var list []*activeAttempt
	for _, r := range m.runs {
		// Without occupied slots there are no queued attempts either.
		if r.queue.Running == 0 || r.stale {
			continue
		}
		for _, x := range r.list {
			if x.active != nil && x.active.worker == id {
				list = append(list, x.active)
			}
		}
	}
	return list
}

// occupyingSlots calls fn for each module whose attempt occupies a slot.
func (m *model) occupyingSlots(fn func(*moduleState)) {
	for _, r := range m.runs {
		if r.queue.Running == 0 {
			continue
		}
		for _, x := range r.list {
			if x.active != nil && x.active.occupies {
				fn(x)
			}
		}
	}
}

// runNews is what the replicated state has of a run that changed.
type runNews struct {
	id     pipeline.RunID
	exists bool
	head   pipeline.Run
	// records are those of the modules that wait for what others than this leader end:
	// an approval, or a child that is not live.
	records map[string]pipeline.ModuleRecord
}

// read reads what the model may have to follow of a run. It does not read the records
// of modules whose child is live: there may be as many as there are changes.
func (m *model) read(v *fsm.View, id pipeline.RunID) runNews {
	x := runNews{id: id}
	x.head, x.exists = v.Run(id)
	r := m.runs[id]
	if r == nil || r.stale {
		return x
	}

	wait := r.undecided()
	if len(r.parents) > 0 {
		live := make(map[pipeline.RunID]bool, len(x.head.Children))
		for _, c := range x.head.Children {
			live[c] = true
		}
		for _, one := range r.parents {
			if !live[one.child.run] {
				wait = append(wait, one)
			}
		}
	}

	x.records = make(map[string]pipeline.ModuleRecord, len(wait))
	for _, one := range wait {
		x.records[one.def.Name] = v.Module(id, one.def.Name)
	}
	return x
}

// loadRun builds the model of a run from the replicated state.
func loadRun(v *fsm.View, head pipeline.Run) (*run, error) {
	// Instances are no part of a definition, so there may be fewer modules than the
	// head counts, never more.
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

	_, r.blockedBy = v.WaitsFor(&head)

	// Instances first: they have records too.
	records := v.Modules(head.ID)
	for _, m := range r.list {
		if rec := records[m.def.Name]; rec != nil && rec.Expanded {
			m.expand(rec.Instances)
		}
	}

	for name, rec := range records {
		if m := r.modules[name]; m != nil {
			m.load(rec)
		}
	}

	// Last: they need the records of all modules.
	r.linkQueued(records)
	r.linkApprovals()
	return r, nil
}

// newRun builds the model of a run to which nothing has happened. expected has the
// known durations of its modules, 0 for unknown ones; nil if none is known.
func newRun(head pipeline.Run, def *pipeline.Pipeline, expected []time.Duration) (*run, error) {
	r := &run{head: head, def: def, modules: make(map[string]*moduleState, len(def.Modules)),
		tally: tally{remaining: len(def.Modules)}, confidential: confidential(def)}
	r.queue.ID, r.queue.Number, r.queue.MaxParallel = head.ID, head.Number, def.MaxParallel

	// Ranks are lengths of paths in time if durations are known, in modules if not.
	ranks := scheduler.Ranks(def, scheduler.Guess(expected))
	for i := range def.Modules {
		m := &moduleState{run: r, def: &def.Modules[i], order: i, rank: ranks[i], state: pipeline.ModuleWaiting}
		if expected != nil {
			m.expected = expected[i]
		}
		r.add(m)
	}

	for _, m := range r.list {
		for _, name := range m.def.DependsOn {
			d := r.modules[name]
			if d == nil {
				return nil, fmt.Errorf("run %s: module %s depends on %s, which it does not have", head.ID, m.def.Name, name)
			}
			m.dependencies = append(m.dependencies, d)
			d.dependents = append(d.dependents, m)
		}

		// load corrects it for the dependencies that are final.
		m.unfinished = len(m.dependencies)
	}
	return r, nil
}

func (r *run) add(m *moduleState) {
	r.limitInstances(m)
	r.runsAfterSkips = r.runsAfterSkips || m.def.RunIf == pipeline.RunIfNotFailed
	r.modules[m.def.Name] = m
	r.list = append(r.list, m)
	if len(m.def.Locks) > 0 {
		r.lockers = append(r.lockers, m)
	}
}

// expand adds the instances of a module. They depend on what the module depends
// on, and its dependents wait for them too.
func (m *moduleState) expand(list []pipeline.Instance) []*moduleState {
	r := m.run
	added := make([]*moduleState, 0, len(list))
	for _, x := range list {
		def := m.def.Instance(x)
		one := &moduleState{run: r, def: &def, order: m.order, rank: m.rank, expected: m.expected, state: pipeline.ModuleWaiting,
			dependencies: m.dependencies, unfinished: m.unfinished}
		one.dependents = append([]*moduleState(nil), m.dependents...)
		r.add(one)
		added = append(added, one)
		r.tally.remaining++
	}

	// Both directions of each edge. The module itself stays between them, final, so
	// that expressions can still name it.
	for _, d := range m.dependencies {
		d.dependents = append(d.dependents, added...)
	}

	for _, d := range m.dependents {
		d.dependencies = append(d.dependencies, added...)
		d.unfinished += len(added)
	}
	return added
}

// load takes a record of the replicated state into the model.
func (m *moduleState) load(rec *pipeline.ModuleRecord) {
	m.state, m.blocked = rec.State, rec.Blocked
	m.tries = tries{attempts: len(rec.Attempts), failures: rec.Failures, losses: rec.Losses, notBefore: rec.NotBefore, earlier: rec.Earlier}

	// Budgets and the worker to avoid survive a change of leaders.
	last := rec.Last()
	if last != nil && last.State.Lost() {
		m.tries.avoid = last.Worker
	}

	m.loadApproval(rec)
	m.loadChildren(rec)

	// The end of an attempt counts too: locks go by how long a module has been ready.
	m.endedAt = rec.FinishedAt
	if last != nil && last.FinishedAt.After(m.endedAt) {
		m.endedAt = last.FinishedAt
	}

	// It succeeded before the run was last retried, and was selected to run again.
	m.cache.rerun = rec.Tried > 0 && rec.Tried <= len(rec.Attempts) && rec.Attempts[rec.Tried-1].State == pipeline.AttemptSucceeded

	if m.state.Final() {
		m.loadFinal(rec, last)
		return
	}

	if last != nil && !last.State.Final() {
		m.active = &activeAttempt{module: m, id: pipeline.AttemptID{Run: m.run.head.ID, Module: m.def.Name, Attempt: last.Number},
			worker: last.Worker, incarnation: last.Incarnation, fence: last.Fence, evaluated: last.Evaluated,
			assignedAt: last.AssignedAt, startedAt: last.StartedAt, reached: true}

		// Sent or not is unknown: the first comparison tells. Until then it is not sent
		// again, since its worker may already run it.
		m.ready.hasLocks = len(last.Locks) > 0
		m.cache.lookup = last.Cache
	}
}

func (m *moduleState) loadFinal(rec *pipeline.ModuleRecord, last *pipeline.Attempt) {
	// A cached module took as long as the attempt that it has its result from.
	took := rec.FinishedAt.Sub(rec.StartedAt)
	if m.state == pipeline.ModuleCached {
		took = rec.Recorded
	}

	m.keepProduct(product{outputs: rec.Outputs, outputPaths: rec.OutputPaths, result: rec.Result, exitCode: rec.ExitCode, duration: took})
	if last != nil {
		m.setLocations(rec.OutputBytes, last.Holders)
	}

	m.applied = true
	m.countFinal()
}

// linkQueued finds, once all modules are loaded, which attempts are queued behind
// which. An attempt whose predecessor has ended occupies the slot itself.
func (r *run) linkQueued(records map[string]*pipeline.ModuleRecord) {
	for name, rec := range records {
		m := r.modules[name]
		if m == nil || m.active == nil {
			continue
		}

		if after := rec.Last().Predecessor; after != nil {
			before := r.modules[after.Module]
			if before != nil && before.active != nil && before.active.id == *after && before.active.worker == m.active.worker {
				m.active.predecessor, before.active.successor = before.active, m.active
				continue
			}
		}

		r.occupy(m.active)
		r.queue.Running++
	}
}
