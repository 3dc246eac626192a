package orchestrator

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// moduleState is the model of one module of a run.
type moduleState struct {
	run   *run
	def   *pipeline.Module
	order int
	rank  int
	// limit bounds the instances of its block that run at once; nil if nothing does.
	limit *scheduler.Limit
	// expected is the duration by earlier runs; 0 means unknown.
	expected time.Duration

	dependencies, dependents []*moduleState
	// unfinished counts the dependencies that are not final.
	unfinished int

	state pipeline.ModuleState
	// blocked is set if it was skipped because another module failed or was cancelled.
	blocked bool
	// endedAt is when the module, or its last attempt, ended.
	endedAt time.Time
	// applied is set once the final state is known to be in the replicated state.
	// Until then assignments name the module in their Needs, so that the state
	// machine refuses them if it refused the outcome.
	applied bool
	// active is the attempt that is assigned or running; nil if there is none.
	active *activeAttempt

	tries    tries
	ready    readiness
	product  product
	deferred deferredExpressions
	cache    cacheState
	// approval is set once the module waits for its approval, and stays.
	approval *approvalWait
	child    childState
}

// tries is what decides whether and when a module gets another attempt.
type tries struct {
	// attempts is the number of the newest attempt.
	attempts int
	// failures and losses count against two separate budgets.
	failures, losses int
	// notBefore is when the next attempt may start (backoff).
	notBefore time.Time
	// avoid is the worker that lost the last attempt.
	avoid pipeline.NodeID
	// earlier is set if the module failed before the run was last retried.
	earlier bool
}

// readiness is what the planner and the locks know of a waiting module.
type readiness struct {
	// queued is set while the module is in its run's queue for the planner.
	queued bool
	// wantsLocks is set while the module waits only for its locks; hasLocks from
	// when it got them until its attempt ends.
	wantsLocks, hasLocks bool
	// lockTaken is set once another module had one of its keys, or was ahead of it.
	lockTaken bool
	// plansBefore is how many plans its run had been in when it was queued.
	plansBefore int
	// inputs is set when the module becomes ready, if they are large.
	inputs *scheduler.Inputs
}

// product is what dependents may need of a module that ended.
type product struct {
	outputs     pipeline.Digest
	outputPaths []string
	outputBytes int64
	// holders had the outputs when the outcome was committed; locations are nodes
	// that have them by now, as far as known, at most maxLocations.
	holders, locations []pipeline.NodeID
	result             []byte
	exitCode           *int
	duration           time.Duration
}

// deferredExpressions is the state of expressions that need results.
type deferredExpressions struct {
	// evaluated is nil until they have values.
	evaluated *pipeline.Evaluated
	running   bool
}

// activeAttempt is an attempt that is assigned or running.
type activeAttempt struct {
	module      *moduleState
	id          pipeline.AttemptID
	worker      pipeline.NodeID
	incarnation string
	// fence is the raft index of the assignment; 0 until it is applied.
	fence      uint64
	assignedAt time.Time
	startedAt  time.Time
	// readySince is when its module waited for nothing but a worker or a lock; zero if
	// an earlier leader assigned it.
	readySince time.Time
	evaluated  *pipeline.Evaluated
	// lookup and localBytes go with the assignment.
	lookup     *pipeline.CacheLookup
	localBytes int64
	// waited is what its module waited for until it was placed.
	waited string

	// sentAt is when its last dispatch was answered; zero before. sending is set
	// while it waits in the outbox of its link. refusedSince is when a dispatch of it
	// failed first, since it was last sent; zero if none did.
	sentAt       time.Time
	sending      bool
	refusedSince time.Time
	// reached is set unless no dispatch of it can have reached its worker: only then
	// it has surely not started. What an earlier leader dispatched is not known, so an
	// attempt that is read from the state has always reached its worker.
	reached bool
	// predecessor is the attempt behind which this one is queued on the same
	// worker, successor the one that is queued behind this one (ahead.go).
	predecessor, successor *activeAttempt
	// occupies reports whether the attempt occupies a slot.
	occupies bool
	// stopReason is why it is being stopped; "" if it is not.
	stopReason string
	// superseded marks an attempt that is not the module's active one: its outcome
	// is recorded and changes nothing.
	superseded bool
	// ending is set while its outcome is in flight; reporters wait for the commit.
	ending    bool
	reporters []reporter
}

// keepSent takes over what the state does not have of the same attempt: what became
// of its dispatches. The answer to one that is on its way comes for old alone, so the
// next comparison may dispatch it again, which is harmless.
func (a *activeAttempt) keepSent(old *activeAttempt) {
	a.sentAt, a.refusedSince, a.stopReason = old.sentAt, old.refusedSince, old.stopReason
	a.reached = old.reached || old.sending
}

// reporter is one report of a ReportRequest whose sender waits.
type reporter struct {
	request *reportRequest
	index   int
}

// answer tells all reporters the fate of the outcome.
func (a *activeAttempt) answer(ack peer.Ack, err error) {
	for _, r := range a.reporters {
		if err != nil {
			r.request.fail(err)
		} else {
			r.request.ack(r.index, ack)
		}
	}

	a.reporters = nil
}

// runsDespiteCancel reports whether the module runs although its run is being
// cancelled.
func (m *moduleState) runsDespiteCancel() bool {
	return m.def.AlwaysRun && !m.run.head.Forced && !m.run.unstarted()
}

// mustCancel reports whether the module has to end because its run is cancelled.
func (m *moduleState) mustCancel() bool { return m.run.cancelling() && !m.runsDespiteCancel() }

// private reports whether the module itself receives secrets.
func (m *moduleState) private() bool { return len(m.def.SecretNames()) > 0 || m.def.Sensitive }

// class is where the module may run.
func (m *moduleState) class() scheduler.Class {
	c := scheduler.ClassOf(m.def.Requires, m.def.Resources, m.run.head.PinWorker)
	c.Avoid = m.tries.avoid
	c.Alone = len(m.def.Locks) > 0 || m.ready.inputs != nil
	c.Private = m.private()
	if c.Tags != "" || c.Pin != "" {
		c.Pipeline = m.run.def.Name
	}
	return c
}

// enqueue makes the module ready for the planner.
func (m *moduleState) enqueue() {
	m.ready.queued, m.ready.wantsLocks, m.ready.plansBefore = true, false, m.run.plans
	// Inputs first: the class depends on them.
	m.ready.inputs = inputsOf(m)
	m.run.hasLargeInputs = m.run.hasLargeInputs || m.ready.inputs != nil

	m.run.queue.Add(&scheduler.Module{Name: m.def.Name, Priority: m.def.Priority, Rank: m.rank, Order: m.order,
		Class: m.class(), Inputs: m.ready.inputs, Limit: m.limit})
}

// clearReady makes the module not ready. Locks of an active attempt stay: they are
// held until its outcome.
func (m *moduleState) clearReady() {
	m.ready.queued, m.ready.wantsLocks = false, false
	if m.active == nil {
		m.ready.hasLocks = false
	}
}

// occupiesSlotOf reports whether the module has an attempt that occupies a slot of
// the worker.
func (m *moduleState) occupiesSlotOf(id pipeline.NodeID) bool {
	return m.active != nil && m.active.occupies && m.active.worker == id
}

// keepProduct stores what dependents may ask for. Results and paths are kept only
// if a deferred expression may need them: they can be large.
func (m *moduleState) keepProduct(p product) {
	p.outputBytes, p.holders, p.locations = m.product.outputBytes, m.product.holders, m.product.locations

	needed := false
	for _, d := range m.dependents {
		needed = needed || len(d.def.Deferred) > 0
	}

	if !needed {
		p.result, p.outputPaths = nil, nil
	}

	m.product = p
}

// countFinal adds a module that became final to the tally of its run, and tells
// its dependents.
func (m *moduleState) countFinal() {
	t := &m.run.tally
	t.remaining--

	switch m.state {
	case pipeline.ModuleFailed, pipeline.ModuleCancelled:
		if m.def.Hook.Notifies() {
			break // whatever became of it, it says nothing about the run
		}
		t.count(m)
	}

	for _, d := range m.dependents {
		d.unfinished--
	}
}

// count adds a module that did not succeed.
func (t *tally) count(m *moduleState) {
	switch m.state {
	case pipeline.ModuleFailed:
		if m.def.IgnoreFailure {
			t.ignored++
			break
		}
		t.failed++
		if t.firstFailed == "" {
			t.firstFailed = m.def.Name
		}
		if t.stopAfter == "" && !m.tries.earlier && m.run.def.OnFailure != pipeline.OnFailureContinue {
			t.stopAfter = m.def.Name
		}
	case pipeline.ModuleCancelled:
		t.cancelled++
	}
}

// notFailed is pipeline.ModuleRecord.NotFailed.
func (m *moduleState) notFailed() bool {
	return m.state.Success() || m.state == pipeline.ModuleSkipped && !m.blocked || m.state == pipeline.ModuleFailed && m.def.IgnoreFailure
}

// blockedReason is the dependency because of which the module must be skipped, and
// whether it, or what it depends on, failed or was cancelled; "" if there is none.
func (m *moduleState) blockedReason() (reason string, failed bool) {
	if m.def.AlwaysRun {
		return "", false
	}

	for _, d := range m.dependencies {
		switch {
		case !d.state.Final() || d.state.Success() || m.def.RunIf == pipeline.RunIfNotFailed && d.notFailed():
		case d.state != pipeline.ModuleSkipped || d.blocked:
			return blockedBy(m, d), true
		case reason == "":
			reason = blockedBy(m, d)
		}
	}

	// Whether one that still runs will fail decides whether it was skipped for that.
	if m.run.runsAfterSkips && m.unfinished > 0 {
		return "", false
	}
	return reason, false
}

// blockedBy says how a dependency ended because of which a module is skipped.
func blockedBy(m, d *moduleState) string {
	switch {
	case d.state == pipeline.ModuleFailed:
		return fmt.Sprintf("dependency %s failed", d.def.Name)
	case d.state == pipeline.ModuleSkipped && m.def.RunIf == pipeline.RunIfNotFailed:
		return fmt.Sprintf("dependency %s was skipped because of a failure", d.def.Name)
	}
	return fmt.Sprintf("dependency %s was %s", d.def.Name, d.state)
}

// unappliedDependencies names the dependencies whose end is not known to be
// applied.
func (m *moduleState) unappliedDependencies() []string {
	var names []string
	for _, d := range m.dependencies {
		if !d.applied {
			names = append(names, d.def.Name)
		}
	}
	return names
}

// upstreamResult is what expressions of other modules see of this one.
func (m *moduleState) upstreamResult() pipeline.UpstreamResult {
	p := &m.product
	return pipeline.UpstreamResult{Status: m.state, Result: p.result, Outputs: p.outputPaths, ExitCode: p.exitCode,
		Duration: p.duration, Cached: m.state == pipeline.ModuleCached, Expanded: m.def.Dynamic}
}

// upstreamResults is what expressions of the module see of its dependencies.
func (m *moduleState) upstreamResults() map[string]pipeline.UpstreamResult {
	out := make(map[string]pipeline.UpstreamResult, len(m.dependencies))
	for _, d := range m.dependencies {
		out[d.def.Name] = d.upstreamResult()
	}
	return out
}
