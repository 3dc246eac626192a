package orchestrator

import (
	"cmp"
	"context"
	"time"

	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// Census counts what the leader has to do.
func (o *Orchestrator) Census(ctx context.Context) (out metrics.Census, err error) {
	err = o.ask(ctx, func(t *term) {
		c := &census{explainer: t.explainer, now: time.Now()}
		out = c.take()
	})
	return out, err
}

// census counts once. Its cost follows the model, which is bounded (parking.go).
type census struct {
	*explainer
	now time.Time
}

// The states of runs and of workers, in the words of the conventions for CI/CD.
const (
	runPending    = "pending"
	runExecuting  = "executing"
	runFinalizing = "finalizing"

	workerAvailable = "available"
	workerBusy      = "busy"
	workerOffline   = "offline"
)

// Reasons of waiting modules. They classify what the explainer says.
const (
	waitsDependency = "dependency"
	waitsGroup      = "group"
	waitsApproval   = "approval"
	waitsCache      = "cache"
	waitsLock       = "lock"
	waitsExpression = "expression"
	waitsBackoff    = "backoff"
	waitsLimit      = "limit"
	waitsTags       = "tags"
	waitsSlots      = "slots"
	waitsResources  = "resources"
	waitsTurn       = "turn"
)

func (c *census) take() metrics.Census {
	out := metrics.Census{Runs: map[metrics.RunKey]int{}, Waiting: map[string]int{}, Workers: map[string]int{}}
	// Every known value has a series, so that a board shows 0 and not nothing.
	for _, reason := range []string{waitsDependency, waitsGroup, waitsApproval, waitsCache, waitsLock, waitsExpression, waitsBackoff,
		waitsLimit, waitsTags, waitsSlots, waitsResources, waitsTurn} {
		out.Waiting[reason] = 0
	}
	for _, state := range []string{workerAvailable, workerBusy, workerOffline} {
		out.Workers[state] = 0
	}

	for _, r := range c.model.runs {
		out.Runs[metrics.RunKey{Pipeline: r.head.Pipeline, State: r.phase()}]++
		out.Backlog += r.queue.Len()
		for _, m := range r.list {
			if m.state == pipeline.ModuleWaiting {
				out.Waiting[c.reason(m)]++
			}
		}
	}
	for _, x := range c.parking.byID {
		state := runPending
		if x.began {
			state = runExecuting
		}
		out.Runs[metrics.RunKey{Pipeline: x.pipeline, State: state}]++
		kind, _ := x.waits()
		out.Waiting[kind] += x.weight - runWeight
	}
	for _, l := range c.workers.links {
		out.Workers[c.workerState(l)]++
	}
	return out
}

// phase is the state of a run that has not ended.
func (r *run) phase() string {
	switch {
	case r.cancelling() || r.ended:
		return runFinalizing
	case r.head.StartedAt.IsZero():
		return runPending
	}
	return runExecuting
}

// reason classifies why a module waits, in the order of the explainer.
func (c *census) reason(m *moduleState) string {
	switch {
	case m.run.blockedBy != "":
		return waitsGroup
	case m.unfinished > 0:
		return waitsDependency
	case m.approval != nil:
		return waitsApproval
	case m.cache.leader != nil, m.cache.looking:
		return waitsCache
	case m.ready.wantsLocks:
		return waitsLock
	case m.deferred.running, m.child.preparing:
		return waitsExpression
	case m.tries.notBefore.After(c.now):
		return waitsBackoff
	case m.full():
		return waitsLimit
	}

	return cmp.Or(m.run.explained.kind(m), waitsSlots)
}

// kind classifies why a plan did not place a module; "" if it did not say.
func (x *explanation) kind(m *moduleState) string {
	if x.why[scheduler.Class{}] == scheduler.AtLimit || x.full[m.limit] {
		return waitsLimit
	}
	switch x.why[m.class()] {
	case scheduler.NoWorker:
		return waitsTags
	case scheduler.NoCapacity, scheduler.Reserved:
		return waitsResources
	case scheduler.NoSlot:
		return waitsSlots
	}
	return ""
}

// waitedFor classifies what a module waited for that is placed now: what the plan before
// this one said, if the module was in it, else what it had to have before it was ready;
// "" if nothing.
func (m *moduleState) waitedFor() string {
	if m.run.plans-m.ready.plansBefore > 1 {
		if kind := m.run.explainedBefore.kind(m); kind != "" {
			return kind
		}
	}
	switch {
	case m.ready.lockTaken:
		return waitsLock
	case m.tries.notBefore.After(m.endedAt):
		return waitsBackoff
	}
	return ""
}

func (c *census) workerState(l *link) string {
	a := c.workers.availability(l, c.now)
	switch {
	case l.capabilities == nil || a.offline:
		return workerOffline
	case !a.open() || l.load.slots >= l.capabilities.MaxParallelModules:
		return workerBusy
	}
	return workerAvailable
}
