package orchestrator

import (
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// outcomes takes the reports of workers and decides what becomes of a module whose
// attempt has ended. A report is answered when its fate is committed, so a worker
// may forget an attempt as soon as it has the answer.
type outcomes struct {
	model     *model
	store     stateReader
	logger    hclog.Logger
	proposals *proposals
	replan    *flag
	steps     steps
	work      interface{ release(*moduleState) }
	workers   interface{ reported(peer.ReportRequest) }
	parked    interface{ hurry(pipeline.RunID) bool }
	slots     interface{ passOn(*activeAttempt, bool) }
}

// reportRequest collects the answers to one ReportRequest. Only the loop touches
// it until done is closed.
type reportRequest struct {
	acks []peer.Ack
	left int
	err  error
	done chan struct{}
}

func newReportRequest(n int) *reportRequest {
	return &reportRequest{acks: make([]peer.Ack, n), left: n, done: make(chan struct{})}
}

// ack answers one report.
func (q *reportRequest) ack(i int, a peer.Ack) {
	q.acks[i] = a
	q.answered()
}

// fail makes the whole request fail: the worker repeats all its reports.
func (q *reportRequest) fail(err error) {
	q.err = err
	q.answered()
}

func (q *reportRequest) answered() {
	if q.left--; q.left == 0 {
		close(q.done)
	}
}

// report takes the reports of a worker. Reports whose fate is known are answered
// at once.
func (o *outcomes) report(in peer.ReportRequest, q *reportRequest) {
	// A report renews the lease, whatever it says.
	o.workers.reported(in)

	for i := range in.Reports {
		rep := &in.Reports[i]
		r := o.model.runs[rep.ID.Run]
		if r == nil && rep.Outcome != nil && o.parked.hurry(rep.ID.Run) {
			q.fail(pipeline.Errorf(pipeline.Unavailable, "run %s is being read", rep.ID.Run))
			continue
		}
		if r == nil {
			q.ack(i, o.ackOfFinishedRun(rep))
			continue
		}

		// The model is wrong about this run. The worker repeats its report.
		if r.stale {
			q.fail(pipeline.Errorf(pipeline.Unavailable, "run %s is being read again", rep.ID.Run))
			continue
		}
		o.reportOne(r, in.Worker, rep, reporter{q, i})
		o.proposals.flushIfFull()
	}
}

// reportOne takes one report about a run that is in the model.
func (o *outcomes) reportOne(r *run, worker pipeline.NodeID, rep *peer.Report, by reporter) {
	m := r.modules[rep.ID.Module]
	if m == nil {
		by.request.ack(by.index, peer.Ack{Done: true, Refused: "no such module"})
		return
	}

	// Number and worker must match: an attempt is one try on one worker.
	a := m.active
	switch {
	case a == nil || a.id.Attempt != rep.ID.Attempt || a.worker != worker:
		o.superseded(m, worker, rep, by)
	case rep.Outcome == nil:
		o.started(a, rep.StartedAt)
		by.request.ack(by.index, peer.Ack{Done: true})
	default:
		a.reporters = append(a.reporters, by)
		o.finish(a, *rep.Outcome)
	}
}

// ackOfFinishedRun answers a report about a run that has finished or is unknown.
func (o *outcomes) ackOfFinishedRun(rep *peer.Report) peer.Ack {
	if rep.Outcome == nil {
		return peer.Ack{Done: true}
	}

	reason := "no such run"
	err := o.store.View(func(v *fsm.View) error {
		// A run that was removed has no records: there is nothing to be kept.
		m := v.Module(rep.ID.Run, rep.ID.Module)
		if n := rep.ID.Attempt; n >= 1 && n <= len(m.Attempts) {
			reason = "attempt is " + string(m.Attempts[n-1].State)
			if m.Attempts[n-1].State == rep.Outcome.State {
				reason = "" // a repeat of what is committed
			}
		}
		return nil
	})
	if err != nil {
		return peer.Ack{}
	}
	return peer.Ack{Done: true, Refused: reason}
}

// superseded handles a report about an attempt that is not the active one. The
// state machine records its outcome as superseded, or knows it already.
func (o *outcomes) superseded(m *moduleState, worker pipeline.NodeID, rep *peer.Report, by reporter) {
	if rep.Outcome == nil {
		by.request.ack(by.index, peer.Ack{Done: true, Refused: "not the active attempt"})
		return
	}

	// A stand-in for the attempt carries the answer back. It must not look like the
	// module's active one: nothing in the model follows from it.
	out := *rep.Outcome
	out.Worker = worker
	a := &activeAttempt{module: m, id: rep.ID, worker: worker, ending: true, superseded: true, reporters: []reporter{by}}
	o.proposals.batch.outcome(a, fsm.Outcome{Outcome: out, Next: m.state})
}

// started records that the process of an attempt runs.
func (o *outcomes) started(a *activeAttempt, at time.Time) {
	if a.ending || !a.startedAt.IsZero() || a.fence == 0 || a.module.run.stale {
		return
	}

	a.startedAt = at
	o.proposals.batch.start(a, at)
}

// lost ends an attempt whose worker is lost.
func (o *outcomes) lost(a *activeAttempt, reason string) {
	if a.ending || a.module.run.stale {
		return
	}

	o.finish(a, pipeline.Outcome{State: pipeline.AttemptLost, Reason: reason, StartedAt: a.startedAt, FinishedAt: time.Now().UTC()})
}

// finish ends an active attempt and decides what becomes of its module.
func (o *outcomes) finish(a *activeAttempt, out pipeline.Outcome) {
	m, r := a.module, a.module.run
	out.ID, out.Fence = a.id, a.fence
	if out.Worker == "" {
		out.Worker = a.worker
	}

	if !out.State.Final() || out.State == pipeline.AttemptSuperseded {
		out.State, out.Reason = pipeline.AttemptFailed, "the worker reported no final state"
	}

	// From here on the attempt belongs to the batch: nothing else may end it.
	a.ending = true
	op := fsm.Outcome{Outcome: out, Ignored: m.def.IgnoreFailure}
	decide(a, &op)
	if op.Next == pipeline.ModuleFailed && m.def.Failure != "" {
		op.Reason = m.def.Failure + " (" + op.Reason + ")"
	}

	// The model moves at once, ahead of the commit; a refusal reads the run again.
	m.active, m.state, m.applied = nil, op.Next, false
	m.blocked = op.Next == pipeline.ModuleSkipped
	m.ready.hasLocks, m.endedAt = false, out.FinishedAt
	m.tries.notBefore = op.NotBefore
	o.slots.passOn(a, out.State == pipeline.AttemptSucceeded)
	r.pace.add(&out)
	o.replan.raise()

	// An outcome and the assignments that it makes possible share one entry, unless
	// the batch is full: one round of consensus per hop.
	o.proposals.batch.outcome(a, op)
	defer o.proposals.flushIfFull()

	if m.state.Final() {
		o.finishModule(a, &out)
		return
	}

	o.repeatModule(a, &out)
}

// finishModule keeps what a final module left, and lets its dependents advance.
func (o *outcomes) finishModule(a *activeAttempt, out *pipeline.Outcome) {
	m := a.module

	// Before finish, which may place a dependent by where the outputs are.
	m.setLocations(out.OutputBytes, out.Holders)
	if out.State == pipeline.AttemptSucceeded {
		m.addLocation(a.worker)
	}

	m.keepProduct(product{outputs: out.Outputs, outputPaths: out.OutputPaths, result: out.Result, exitCode: out.ExitCode,
		duration: out.FinishedAt.Sub(out.StartedAt)})
	o.steps.finish(m)
}

// repeatModule lets a module wait for its next attempt.
func (o *outcomes) repeatModule(a *activeAttempt, out *pipeline.Outcome) {
	m := a.module

	// The next attempt must run the same command: values are committed once.
	m.deferred.evaluated = a.evaluated
	o.work.release(m)
	m.cache.lookup = nil // looked up again: another module may have done the work

	if o.reopen(m, out.LostOutputs) {
		return
	}

	o.steps.advance(m)
}

// reopen lets the dependencies run again whose outputs are on no node. The run
// becomes stale: it is read again once that is committed, and what depends on them
// then waits for them.
func (o *outcomes) reopen(m *moduleState, names []string) bool {
	found := false
	for _, d := range m.dependencies {
		if !slices.Contains(names, d.def.Name) || !d.state.Success() || d.tries.losses >= pipeline.MaxLosses {
			continue
		}
		o.logger.Warn("outputs are lost; the module runs again", m.run.head.ModuleLogFields(d.def.Name)...)
		o.proposals.batch.reopen(d, "output_lost: its outputs are on no reachable node")
		found = true
	}

	// Its own model cannot follow: dependents of what is reopened may be ready.
	if found {
		m.run.stale = true
		m.run.queue.Clear()
	}
	return found
}
