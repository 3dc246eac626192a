package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// run is the model of an active run: its replicated state, ahead of it by the
// proposals in flight.
type run struct {
	head    pipeline.Run
	def     *pipeline.Pipeline
	modules map[string]*moduleState
	// list has the modules in the order of the source.
	list []*moduleState
	// queue holds the ready modules; queue.Running counts the attempts that occupy
	// a slot.
	queue scheduler.Run
	tally tally
	// occupying are the attempts that occupy a slot.
	occupying []*activeAttempt
	pace      pace
	// lockers are the modules with locks.
	lockers []*moduleState
	// limits are those of the blocks with max_parallel, by name; nil without any.
	limits map[string]*scheduler.Limit
	// approvals are the modules that wait for an approval, and some that did.
	approvals []*moduleState
	// preparing are the modules whose child is being made.
	preparing []*moduleState
	// parents are the modules whose child has not ended, and some whose has.
	parents []*moduleState
	// explained is what the last plan said about the run, explainedBefore what the one
	// before it said.
	explained, explainedBefore explanation
	// plans is how many plans the run has been in.
	plans int
	// waitingSince is when a module became ready while no module of the run was
	// placed; zero if none is ready.
	waitingSince time.Time
	// inFlight counts the proposals that touch the run. A stale run waits until it
	// is 0 and is then read again.
	inFlight int
	stale    bool
	// ended is set once the run's end is proposed, expiring once its cancellation
	// by its own timeout is.
	ended, expiring bool
	// hasLargeInputs is set once a module of the run has inputs that count for its
	// placement.
	hasLargeInputs bool
	// blockedBy is why the run waits in a queue of runs; "" if it may start.
	blockedBy string
	// runsAfterSkips is set if a module of the run has RunIfNotFailed: how a module was
	// skipped must not depend on which of its dependencies ended first then.
	runsAfterSkips bool
	// fits is set once it was checked that each module fits a worker (hopeless.go).
	fits bool
	// confidential runs need the vault.
	confidential bool
}

// tally counts how the modules of a run ended.
type tally struct {
	// remaining modules are not final.
	remaining         int
	failed, cancelled int
	// ignored counts failures that leave the run succeeded with warnings.
	ignored int
	// firstFailed is the first module whose failure counts.
	firstFailed string
	// stopAfter is the failed module after which no module starts; "" if modules
	// may start.
	stopAfter string
}

// pace is the recent duration of a run's successful attempts.
type pace struct {
	average time.Duration
	samples int
}

// add takes one attempt into the moving average.
func (p *pace) add(o *pipeline.Outcome) {
	if o.State != pipeline.AttemptSucceeded || o.StartedAt.IsZero() {
		return
	}

	d := max(0, o.FinishedAt.Sub(o.StartedAt))
	if p.samples++; p.samples == 1 {
		p.average = d
	}

	p.average += (d - p.average) / 4
}

// limitInstances gives a module the limit of its block, if that has one.
func (r *run) limitInstances(m *moduleState) {
	if m.def.MaxParallel == 0 {
		return
	}
	if r.limits == nil {
		r.limits = map[string]*scheduler.Limit{}
	}
	block := m.def.Block()
	if r.limits[block] == nil {
		r.limits[block] = &scheduler.Limit{Max: m.def.MaxParallel}
	}
	m.limit = r.limits[block]
}

// countInstances counts what runs of the blocks with a limit. Their modules are never
// queued behind others, so that each attempt occupies a slot.
func (r *run) countInstances() {
	if r.limits == nil {
		return
	}
	for _, l := range r.limits {
		l.Running = 0
	}
	for _, a := range r.occupying {
		if l := a.module.limit; l != nil {
			l.Running++
		}
	}
}

// explanation is why ready modules of a run were not placed.
type explanation struct {
	why map[scheduler.Class]scheduler.Why
	// full are the limits of blocks that allowed no more.
	full          map[*scheduler.Limit]bool
	localityWaits map[string]scheduler.LocalityWait
}

// fitsNowhere reports whether the last plan found no worker for any class.
func (e *explanation) fitsNowhere() bool {
	for _, why := range e.why {
		if why != scheduler.NoWorker {
			return false
		}
	}
	return len(e.why) > 0
}

func (r *run) cancelling() bool { return r.head.State == pipeline.RunCancelling }

// unstarted reports whether the run is in a queue of runs and nothing of it has
// started yet.
func (r *run) unstarted() bool {
	return (r.head.Group != "" || r.head.Queued) && r.head.StartedAt.IsZero()
}

// deadline is when the run's timeout ends it; zero if it has none or has not
// started. Time in a queue of runs does not count.
func (r *run) deadline() time.Time {
	if r.unstarted() {
		return time.Time{}
	}

	from := r.head.StartedAt
	if r.head.RetriedAt.After(from) {
		from = r.head.RetriedAt
	}

	if r.def.Timeout <= 0 || from.IsZero() {
		return time.Time{}
	}
	return from.Add(r.def.Timeout)
}

// cancelReason is the reason of modules that end because their run is cancelled.
func (r *run) cancelReason() string {
	switch {
	case r.head.TimedOut:
		return r.head.Reason
	case r.head.Reason == "":
		return "the run was cancelled"
	}
	return "the run was cancelled: " + r.head.Reason
}

// priority is that of the first ready module. It grows by one per aging interval
// while no module of the run is placed, so that no run waits forever.
func (r *run) priority(now time.Time) int {
	if r.waitingSince.IsZero() {
		r.waitingSince = now
	}
	return r.queue.Top() + int(now.Sub(r.waitingSince)/agingInterval)
}

// clearReady makes no module of the run ready any more.
func (r *run) clearReady() {
	r.queue.Clear()
	for _, m := range r.list {
		if m.active == nil && !m.state.Final() {
			m.clearReady()
		}
	}
}

// occupy and vacate keep the list of attempts that occupy a slot. The caller
// counts queue.Running and the worker's slots.
func (r *run) occupy(a *activeAttempt) {
	a.occupies = true
	r.occupying = append(r.occupying, a)
}

func (r *run) vacate(a *activeAttempt) {
	a.occupies = false
	for i, other := range r.occupying {
		if other == a {
			r.occupying = append(r.occupying[:i], r.occupying[i+1:]...)
			return
		}
	}
}
