package orchestrator

import (
	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// commits applies the fate of proposed batches to the model. What was accepted
// only needs to be noted: the model is ahead. A refusal means that the model is
// wrong about a run, so the run becomes stale: nothing is decided about it until
// its last proposal has returned, and then it is read again from the state.
type commits struct {
	model     *model
	proposals *proposals
	logger    hclog.Logger
	lifecycle interface {
		reload(*run)
		drop(pipeline.RunID)
	}

	work interface{ stored(*moduleState) }
	send interface{ dispatch(*activeAttempt) }
	// metrics counts what is committed; what was refused or is unknown does not count.
	metrics *metrics.Leader
	// ended is called with each run whose end is committed; may be nil.
	ended func(pipeline.RunID)
}

// refusals are the elements of a batch that the state machine refused.
type refusals map[[2]int]fsm.Refusal

// refusalsOf indexes the reply to a batch. Another reply refuses nothing.
func refusalsOf(reply any) refusals {
	res, _ := reply.(fsm.BatchResult)
	out := make(refusals, len(res.Refused))
	for _, f := range res.Refused {
		out[[2]int{int(f.Part), f.At}] = f
	}
	return out
}

// of returns the refusal of the i-th element of a part, if there is one.
func (r refusals) of(part fsm.Part, i int) (fsm.Refusal, bool) {
	f, refused := r[[2]int{int(part), i}]
	return f, refused
}

// committed handles the fate of a batch. An error says that it is unknown, or that
// this node does not lead: all runs of the batch are read again.
func (c *commits) committed(b *batch, index uint64, reply any, err error) {
	// First: whether a run may be read again depends on it.
	for r := range b.runs {
		r.inFlight--
	}

	if err != nil {
		c.logger.Warn("proposal failed", "error", err)
		for r := range b.runs {
			r.stale = true
		}
		for _, a := range b.outcomes {
			a.answer(peer.Ack{}, err) // the worker repeats the report
		}
		c.reloadStale(b)
		return
	}

	// In the order in which the state machine applied the parts.
	refused := refusalsOf(reply)
	c.outcomes(b, refused)
	c.moduleEnds(b, refused)
	c.assignments(b, refused, index)
	c.runEnds(b, refused)
	c.reloadStale(b)
}

// outcomes answers the reporters, and releases those who wait for a cached result.
func (c *commits) outcomes(b *batch, refused refusals) {
	for i, a := range b.outcomes {
		f, no := refused.of(fsm.PartOutcome, i)

		// A stand-in for a superseded attempt must not touch its module.
		if !a.superseded {
			a.module.applied = true
			if b.Outcomes[i].Next == pipeline.ModuleSucceeded {
				c.work.stored(a.module)
			}
		}

		switch {
		case a.superseded:
			c.metrics.Superseded()
		case !no:
			c.logOutcome(a, &b.Outcomes[i].Outcome)
			c.metrics.AttemptEnded(a.module.run.head.Pipeline, &b.Outcomes[i].Outcome, a.readySince, !b.Outcomes[i].Next.Final())
		}

		// A duplicate is a repeated report of what is committed: fine for its sender.
		switch {
		case no && a.superseded:
			a.answer(peer.Ack{Done: true, Refused: f.Reason}, nil)
		case no && !f.Duplicate:
			c.markStale(a.module.run, "outcome of "+a.id.String(), f, no)
			a.answer(peer.Ack{Done: true, Refused: f.Reason}, nil)
		default:
			a.answer(peer.Ack{Done: true}, nil)
		}
	}
}

func (c *commits) logOutcome(a *activeAttempt, out *pipeline.Outcome) {
	if c.logger.IsDebug() {
		c.logger.Debug("attempt ended", a.logFields("state", out.State, "worker", a.worker, "reason", out.Reason)...)
	}
}

// logFields name the attempt in the log.
func (a *activeAttempt) logFields(more ...any) []any {
	return (&pipeline.Spec{ID: a.id, Trace: a.module.run.head.Trace}).LogFields(more...)
}

// moduleEnds handles what a batch says about modules without an attempt.
func (c *commits) moduleEnds(b *batch, refused refusals) {
	// applied also after a refusal: the run is read again, and its dependents with it.
	for i, m := range b.ends {
		f, no := refused.of(fsm.PartEnd, i)
		m.applied = true
		if !no && b.Ends[i].Cache != nil {
			c.metrics.CacheHit()
		}
		c.markStale(m.run, "end of "+m.def.Name, f, no)
	}

	for i, m := range b.expands {
		f, no := refused.of(fsm.PartExpand, i)
		m.applied = true
		c.markStale(m.run, "instances of "+m.def.Name, f, no)
	}

	for i, m := range b.awaits {
		f, no := refused.of(fsm.PartAwait, i)
		c.markStale(m.run, "approval of "+m.def.Name, f, no)
	}

	for i, m := range b.decides {
		f, no := refused.of(fsm.PartDecide, i)
		m.applied = true
		c.markStale(m.run, "timeout of the approval "+m.def.Name, f, no)
	}
}

// assignments dispatches what was accepted. The fence is the index of the entry.
func (c *commits) assignments(b *batch, refused refusals, index uint64) {
	for i, a := range b.assigns {
		if f, no := refused.of(fsm.PartAssign, i); no {
			c.markStale(a.module.run, "assignment "+a.id.String(), f, no)
			continue
		}

		// Only now may it be dispatched: the worker checks the fence.
		a.fence = index
		c.metrics.Assigned(a.lookup != nil)
		c.send.dispatch(a)
		if c.logger.IsDebug() {
			c.logger.Debug("attempt assigned", a.logFields("worker", a.worker)...)
		}
	}
}

// runEnds drops the runs whose end is committed.
func (c *commits) runEnds(b *batch, refused refusals) {
	for i := range b.Runs {
		r := c.model.runs[b.Runs[i].Run]
		if r == nil {
			continue
		}

		// A duplicate says that the run has ended in the state: drop it all the same.
		if f, no := refused.of(fsm.PartRun, i); no && !f.Duplicate {
			c.markStale(r, "end of the run", f, no)
			continue
		} else if !no {
			c.metrics.RunEnded(&r.head, b.Runs[i].State, b.at)
			if c.logger.IsDebug() {
				c.logger.Debug("run ended", r.head.LogFields("pipeline", r.head.Pipeline, "state", b.Runs[i].State)...)
			}
			if c.ended != nil {
				c.ended(r.head.ID)
			}
		}
		c.lifecycle.drop(r.head.ID)
	}
}

// markStale marks a run to be read again if an element was refused.
func (c *commits) markStale(r *run, what string, f fsm.Refusal, refused bool) {
	if refused && !f.Duplicate {
		c.logger.Warn("decision refused", r.head.LogFields("what", what, "reason", f.Reason)...)

		// Nothing of it may be planned until it is read again.
		r.stale = true
		r.queue.Clear()
	}
}

// reloadStale reads the stale runs of a batch again, once nothing about them is in
// flight.
func (c *commits) reloadStale(b *batch) {
	for r := range b.runs {
		// What is decided and not proposed yet counts as well: the state does not have
		// it. Its own commit comes by here again.
		_, undecided := c.proposals.batch.runs[r]
		if r.stale && r.inFlight == 0 && !undecided && c.model.isCurrent(r) {
			c.lifecycle.reload(r)
		}
	}
}
