package orchestrator

import (
	"cmp"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// stateReader reads the replicated state. A view must be closed before the next one of
// the same goroutine: fsm.Store.View may wait for it otherwise.
type stateReader interface {
	View(func(*fsm.View) error) error
}

// steps is what the parts of a term ask of the lifecycle of modules.
type steps interface {
	// advance lets a waiting module take its next step, if it may.
	advance(*moduleState)
	// end ends a module that has no active attempt.
	end(*moduleState, pipeline.ModuleState, string)
	// finish lets the model follow from a final state that is set.
	finish(*moduleState)
}

// lifecycle takes runs and modules from one state to the next. Nothing else sets
// the final state of a module without an attempt, or ends a run. It calls itself
// through finish: the end of one module may end others.
type lifecycle struct {
	model     *model
	store     stateReader
	logger    hclog.Logger
	proposals *proposals
	// replan is raised if something became ready or a slot free.
	replan *flag

	queues    *runQueues
	backoffs  *backoffs
	deferred  interface{ evaluate(*moduleState) }
	approvals interface{ await(*moduleState) }
	children  interface {
		begin(*moduleState)
		stop(m *moduleState, reason string)
	}
	cache interface {
		isCacheable(*moduleState) bool
		request(*moduleState)
	}

	work interface {
		lead(*moduleState)
		release(*moduleState)
		releaseAll(*run)
	}

	attempts interface{ stop(*activeAttempt, string) }
	slots    interface{ recount() }
}

// resume takes a run that was read from the state to its next steps.
func (l *lifecycle) resume(r *run) {
	for _, m := range r.list {
		if m.active != nil {
			l.work.lead(m)
		}
	}

	// A leader that died in the middle of a cancellation left it to this one.
	if r.cancelling() {
		l.cancel(r)
		return
	}

	for _, m := range r.list {
		if m.active == nil && !m.state.Final() {
			l.advance(m)
		}
	}

	// The same for a run that stops after a failure.
	if r.tally.stopAfter != "" {
		l.stopRun(r)
	}

	l.maybeEnd(r)
	l.replan.raise()
}

// reload reads a run again after something about it was refused. What the state
// does not know of its active attempts, such as what was sent, is kept.
func (l *lifecycle) reload(r *run) {
	var fresh *run
	err := l.store.View(func(v *fsm.View) (err error) {
		if head, ok := v.Run(r.head.ID); ok && !head.State.Final() {
			fresh, err = loadRun(v, head)
		}
		return err
	})

	// After the view: resuming reads the state too.
	switch {
	case err != nil:
		l.logger.Error("read run again", r.head.LogFields("error", err)...)
	case fresh == nil:
		l.drop(r.head.ID)
	default:
		for name, m := range fresh.modules {
			old := r.modules[name]
			if m.active != nil && old != nil && old.active != nil && old.active.id == m.active.id {
				m.active.keepSent(old.active)
			}
		}

		// The fresh run first: what waited for the old one must not see it as current.
		l.model.runs[r.head.ID] = fresh
		l.work.releaseAll(r)
		l.resume(fresh)
	}

	l.slots.recount()
}

// drop removes a run from the model: it has finished, or was removed.
func (l *lifecycle) drop(id pipeline.RunID) {
	r := l.model.runs[id]
	if r == nil {
		return
	}

	l.queues.left(r)
	delete(l.model.runs, id)
	l.work.releaseAll(r)
}

// advance makes a waiting module ready, or ends it, if its dependencies allow. It
// may be called at any time: it does nothing if the module waits for something.
//
// The order matters. A cancelled run cancels before anything else. A module is
// skipped for a failed dependency even if others are not final yet. Expressions
// come before the approval, whose message may be one; backoff before the lookup,
// so that a result cached meanwhile is found.
func (l *lifecycle) advance(m *moduleState) {
	r := m.run
	if m.state.Final() || m.active != nil || m.ready.queued || m.ready.wantsLocks || m.cache.looking || m.cache.leader != nil || m.child.live || m.child.preparing || r.stale {
		return
	}

	if m.mustCancel() {
		l.end(m, pipeline.ModuleCancelled, r.cancelReason())
		return
	}

	if r.blockedBy != "" {
		return
	}

	if reason, blocked := m.skipReason(); reason != "" {
		m.blocked = blocked
		l.end(m, pipeline.ModuleSkipped, reason)
		return
	}

	if r.tally.stopAfter != "" && !m.def.AlwaysRun || m.unfinished > 0 || m.approval != nil {
		return
	}

	if reason := cmp.Or(m.hookSkipReason(), l.notifySkipReason(m)); reason != "" {
		l.end(m, pipeline.ModuleSkipped, reason)
		return
	}

	if len(m.def.Deferred) > 0 && l.advanceDeferred(m) {
		return
	}

	if m.def.Approval != nil {
		l.approvals.await(m)
		return
	}

	if time.Until(m.tries.notBefore) > 0 {
		l.backoffs.add(m)
		return
	}

	if m.def.Child != nil {
		l.children.begin(m)
		return
	}

	if m.cache.lookup == nil && l.cache.isCacheable(m) {
		l.cache.request(m)
		return
	}

	l.replan.raise()
	if len(m.def.Locks) > 0 {
		m.ready.wantsLocks, m.ready.lockTaken = true, false
		return
	}

	m.enqueue()
}

// skipReason is why the module is skipped whatever else happens, and whether because
// another failed or was cancelled; "" if it is not skipped.
func (m *moduleState) skipReason() (reason string, blocked bool) {
	if m.def.Skip != "" {
		return m.def.Skip, false
	}
	return m.blockedReason()
}

// advanceDeferred handles a module with deferred expressions, and reports whether
// it has taken its step.
func (l *lifecycle) advanceDeferred(m *moduleState) bool {
	e := m.deferred.evaluated
	switch {
	case e == nil:
		l.deferred.evaluate(m)
	case e.Skip != "":
		l.end(m, pipeline.ModuleSkipped, e.Skip)
	case m.def.Dynamic:
		l.expand(m)
	default:
		return false
	}
	return true
}

// expand replaces a module by its instances.
func (l *lifecycle) expand(m *moduleState) {
	list := m.deferred.evaluated.Instances
	m.deferred.evaluated = nil
	m.state, m.endedAt = pipeline.ModuleSucceeded, time.Now().UTC()

	// Before expand changes what the module's dependents wait for.
	l.proposals.batch.expand(m, list)
	added := m.expand(list)

	// Last: a batch must not be proposed with only a part of what follows.
	defer l.proposals.flushIfFull()
	for _, one := range added {
		l.advance(one)
	}

	l.finish(m)
}
