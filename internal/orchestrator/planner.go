package orchestrator

import (
	"sort"
	"time"

	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// agingInterval is how long a run waits for its priority to count for one more, and
// how long a class waits for processors or memory before a worker is reserved.
const agingInterval = 15 * time.Second

// planner gives ready modules to workers: it builds the view of the pure planner,
// and turns its placements into assignments.
type planner struct {
	model     *model
	workers   *workers
	locks     *locks
	backoffs  *backoffs
	proposals *proposals
	steps     steps
	work      *inFlightWork
	lookups   interface {
		lookupFor(*moduleState, *link) *pipeline.CacheLookup
	}

	ahead *queueAhead
	vault Vault

	replan *flag
	// hopeless ends modules that can never run; nil if another worker may join.
	hopeless *hopeless
	// reservation is the worker that the last plan reserved; nil if none.
	reservation *scheduler.Reservation
	shares      shares
	// localityWaits is set while a module waits for a slot of a worker that has its
	// inputs: time alone may end that wait.
	localityWaits bool
	metrics       *metrics.Leader
}

// plan places what is ready. It must not be called while proposals are busy.
func (p *planner) plan() {
	p.replan.lower()
	p.reservation, p.localityWaits = nil, false
	now := time.Now()
	p.backoffs.wake(now)
	p.hopeless.check()

	v := p.view(now)
	if len(v.Runs) == 0 {
		return
	}

	// Pure and quick: its cost follows what is placed, not the backlog.
	began := time.Now()
	placed, why := scheduler.Plan(v)
	p.metrics.Planned(time.Since(began))
	p.explain(v, why)
	p.shares.placed(p.model, placed)

	denied := p.hopeless.unplaced(why)
	for _, x := range placed {
		m := p.model.runs[x.Run].modules[x.Module.Name]
		if reason := p.deny(m); reason != "" {
			// The plan counted it as running.
			m.run.queue.Running--
			m.clearReady()
			denied[m] = reason
			continue
		}
		p.assign(m, x)
		p.proposals.flushIfFull()
	}

	// After all placements: ending a module may stop its run.
	for m, reason := range denied {
		if !m.state.Final() {
			p.replan.raise()
			p.steps.end(m, pipeline.ModuleFailed, reason)
		}
	}

	// Only if no other run waits for a slot: what is queued cannot be taken back.
	if len(v.Runs) == 1 {
		p.ahead.fill(p.model.runs[v.Runs[0].ID], p.reservation)
	}
}

// view builds the planner's view. Locks are granted first: a grant makes a module
// ready.
func (p *planner) view(now time.Time) *scheduler.View {
	v := &scheduler.View{Workers: p.workers.plannable(now), Now: now, AgingInterval: agingInterval}
	p.locks.grant(v.Workers)

	p.shares.begin(p.model)

	// A stale run is not planned: the model is wrong about it.
	large := false
	for _, r := range p.model.runs {
		if r.queue.Len() > 0 && !r.stale {
			r.countInstances()
			r.queue.Priority = r.priority(now)
			r.queue.Submitter = p.shares.of(r.head.Submitter, now)
			r.explained, r.explainedBefore = explanation{}, r.explained
			r.plans++
			v.Runs = append(v.Runs, &r.queue)
			large = large || r.hasLargeInputs
		}
	}

	// The order of a map must not reach the planner: equal views give equal plans.
	sort.Slice(v.Runs, func(i, j int) bool { return v.Runs[i].Number < v.Runs[j].Number })
	p.shares.end()
	if large {
		p.expectFreeSlots(now)
	}
	return v
}

// explain keeps why modules were not placed, for the explainer.
func (p *planner) explain(v *scheduler.View, why []scheduler.Explanation) {
	p.reservation, p.localityWaits = v.Reservation, len(v.LocalityWaits) > 0

	for _, w := range v.LocalityWaits {
		e := &p.model.runs[w.Run].explained
		if e.localityWaits == nil {
			e.localityWaits = map[string]scheduler.LocalityWait{}
		}
		e.localityWaits[w.Module] = w
	}

	for _, x := range why {
		e := &p.model.runs[x.Run].explained
		if x.Limit != nil {
			if e.full == nil {
				e.full = map[*scheduler.Limit]bool{}
			}
			e.full[x.Limit] = true
			continue
		}
		if e.why == nil {
			e.why = map[scheduler.Class]scheduler.Why{}
		}
		e.why[x.Class] = x.Why
	}
}

// deny is why a module that was placed cannot run: a secret that it names is not
// available. "" if it can.
func (p *planner) deny(m *moduleState) string {
	names := m.def.SecretNames()
	if len(names) == 0 || p.vault == nil {
		return ""
	}
	return p.vault.Missing(names)
}

// assign makes a placement an attempt, unless another module does the same work.
func (p *planner) assign(m *moduleState, x scheduler.Placement) {
	if p.work.waitBehind(m, true) {
		m.run.queue.Running--
		p.replan.raise() // the slot is still free
		return
	}

	l := p.workers.link(x.Worker)
	a := newAttempt(m, l, p.lookups.lookupFor(m, l))
	a.localBytes, a.waited = x.LocalBytes, m.waitedFor()
	a.readySince = m.lockReadySince()
	p.work.lead(m)

	// Something of the run was placed: its aging begins again.
	r := m.run
	r.waitingSince = time.Time{}
	if r.head.StartedAt.IsZero() {
		r.head.StartedAt = a.assignedAt
	}

	r.occupy(a)
	l.load.take(m)
	p.proposals.batch.assign(a, x.WorkerName)
}

// newAttempt makes the next attempt of a module its active one.
func newAttempt(m *moduleState, l *link, lookup *pipeline.CacheLookup) *activeAttempt {
	// The number is part of compare and set: the state machine accepts only the next.
	m.ready.queued = false
	m.tries.attempts++
	m.state = pipeline.ModuleRunning
	m.active = &activeAttempt{module: m, id: pipeline.AttemptID{Run: m.run.head.ID, Module: m.def.Name, Attempt: m.tries.attempts},
		worker: l.id, incarnation: l.incarnation, evaluated: m.deferred.evaluated, assignedAt: time.Now(), lookup: lookup}
	return m.active
}
