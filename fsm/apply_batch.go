package fsm

import (
	"fmt"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// refusal has no reason if the element took effect.
type refusal struct {
	reason    string
	duplicate bool
	// kept marks one that changed no more than the history.
	kept bool
}

func (st *state) applyBatch(c *Command, ch *change) BatchResult {
	var res BatchResult
	note := func(p Part, at int, id pipeline.RunID, r refusal) {
		if r.reason != "" {
			res.Refused = append(res.Refused, Refusal{Part: p, At: at, Reason: r.reason, Duplicate: r.duplicate})
			if !r.kept {
				return
			}
		}
		ch.run(id, false)
	}

	b := c.Batch
	for i := range b.Starts {
		note(PartStart, i, b.Starts[i].ID.Run, st.applyStart(&b.Starts[i]))
	}
	for i := range b.Outcomes {
		note(PartOutcome, i, b.Outcomes[i].Outcome.ID.Run, st.applyOutcome(&b.Outcomes[i], c.At))
	}
	for i := range b.Reopens {
		note(PartReopen, i, b.Reopens[i].Run, st.applyReopen(&b.Reopens[i]))
	}
	for i := range b.Expands {
		note(PartExpand, i, b.Expands[i].Run, st.applyExpand(&b.Expands[i], c.At))
	}
	for i := range b.Decides {
		note(PartDecide, i, b.Decides[i].Run, st.applyTimeUp(&b.Decides[i], c.At))
	}
	for i := range b.Ends {
		note(PartEnd, i, b.Ends[i].Run, st.applyEnd(&b.Ends[i], c.At))
	}
	for i := range b.Awaits {
		note(PartAwait, i, b.Awaits[i].Run, st.applyAwait(&b.Awaits[i], c.At))
	}
	for i := range b.Assigns {
		note(PartAssign, i, b.Assigns[i].ID.Run, st.applyAssign(&b.Assigns[i], c.At))
	}
	for i := range b.Runs {
		note(PartRun, i, b.Runs[i].Run, st.applyRunEnd(&b.Runs[i], c.At, ch))
	}
	for i := range b.Copies {
		note(PartCopies, i, b.Copies[i].ID.Run, st.applyCopies(&b.Copies[i]))
	}

	return res
}

// attempt finds the run, the module and the attempt of id.
func (st *state) attempt(id pipeline.AttemptID) (*pipeline.Run, *pipeline.ModuleRecord, *pipeline.Attempt, refusal) {
	r := st.runs.run(id.Run)
	if r == nil {
		return nil, nil, nil, refusal{reason: "no such run"}
	}
	m := st.runs.module(id.Run, id.Module)
	if id.Attempt < 1 || id.Attempt > len(m.Attempts) {
		return r, m, nil, refusal{reason: fmt.Sprintf("attempt %d was never assigned", id.Attempt)}
	}
	return r, m, &m.Attempts[id.Attempt-1], refusal{}
}

func (st *state) applyStart(s *Start) refusal {
	r, m, a, no := st.attempt(s.ID)
	switch {
	case no.reason != "":
		return no
	case a.State != pipeline.AttemptAssigned:
		return refusal{reason: "attempt is " + string(a.State), duplicate: a.State == pipeline.AttemptRunning}
	}
	a.State, a.StartedAt = pipeline.AttemptRunning, s.At
	m.StartedAt = s.At
	st.runs.putModule(r.ID, m)
	st.runs.touch(r)
	return refusal{}
}

func (st *state) applyOutcome(op *Outcome, at time.Time) refusal {
	o := &op.Outcome
	r, m, a, no := st.attempt(o.ID)
	switch {
	case no.reason != "":
		return no
	case !ends(o.State):
		return refusal{reason: fmt.Sprintf("no attempt ends %.40q", o.State)}
	case o.Worker != "" && o.Worker != a.Worker:
		return refusal{reason: "attempt is another worker's"}
	case o.Fence != 0 && o.Fence != a.Fence:
		return refusal{reason: fmt.Sprintf("attempt was assigned at %d, not at %d", a.Fence, o.Fence)}
	case a.State == pipeline.AttemptLost && o.State != pipeline.AttemptLost:
		// The attempt was given up and came back: kept, never applied (P3). Why and when
		// it was given up stays: another attempt began then.
		reason, started, givenUp := a.Reason, a.StartedAt, a.FinishedAt
		st.record(a, o, o.ID)
		a.State, a.Reason, a.FinishedAt = pipeline.AttemptSuperseded, reason, givenUp
		if a.StartedAt.After(givenUp) {
			a.StartedAt = started
		}
		st.runs.putModule(r.ID, m)
		st.runs.touch(r)
		return refusal{reason: "superseded: the attempt was given up before its outcome came", kept: true}
	case a.State.Final():
		return refusal{reason: "attempt is " + string(a.State),
			duplicate: a.State == o.State || a.State == pipeline.AttemptSuperseded}
	case m.State.Final() || r.State.Final():
		return refusal{reason: "module is " + string(m.State)}
	case op.Next != pipeline.ModuleWaiting && !op.Next.Final():
		return refusal{reason: fmt.Sprintf("an outcome makes no module %.40q", op.Next)}
	}

	if a.Cache != nil && o.State == pipeline.AttemptSucceeded && op.Next == pipeline.ModuleSucceeded {
		st.cache.record(r, m, a, o)
	}

	st.record(a, o, o.ID)
	a.Phases = o.Phases.Reported(o.FinishedAt, at)
	r.Live--

	switch o.State {
	case pipeline.AttemptLost:
		m.Losses++
	case pipeline.AttemptFailed, pipeline.AttemptTimedOut:
		m.Failures++
	}

	if o.State != pipeline.AttemptSucceeded && o.State != pipeline.AttemptCancelled {
		st.happenedIn(r, m.Name, pipeline.Event{Type: pipeline.EventAttemptFinished, Attempt: a.Number, Node: a.WorkerName, State: string(o.State),
			ExitCode: o.ExitCode, Again: !op.Next.Final(), Reason: o.Reason})
	}

	m.State, m.Reason, m.NotBefore = op.Next, op.Reason, op.NotBefore
	m.Blocked = op.Next == pipeline.ModuleSkipped // without an attempt it may have another reason
	if m.State.Final() {
		m.NotBefore = time.Time{}
		m.Result, m.Outputs, m.ExitCode = o.Result, o.Outputs, o.ExitCode
		m.OutputPaths, m.OutputCount, m.OutputBytes = o.OutputPaths, o.OutputCount, o.OutputBytes
		m.StartedAt, m.FinishedAt = a.StartedAt, a.FinishedAt
		countEnd(r, m, op.Ignored)
		st.history.add(r, m)
	}

	st.runs.putModule(r.ID, m)
	st.runs.touch(r)

	return refusal{}
}

// ends reports whether a worker may report that an attempt ended in a state.
// Superseded is set by the state machine only.
func ends(s pipeline.AttemptState) bool {
	switch s {
	case pipeline.AttemptSucceeded, pipeline.AttemptFailed, pipeline.AttemptTimedOut, pipeline.AttemptCancelled, pipeline.AttemptLost:
		return true
	}
	return false
}

// record copies what the worker reported into the attempt, and releases its
// locks.
func (st *state) record(a *pipeline.Attempt, o *pipeline.Outcome, id pipeline.AttemptID) {
	st.locks.unlock(a, id)
	if o.State != pipeline.AttemptSucceeded || o.Reason != "" {
		a.Reason = o.Reason // else why it was made stays
	}

	a.State, a.ExitCode = o.State, o.ExitCode
	if !o.StartedAt.IsZero() {
		a.StartedAt = o.StartedAt
	}

	a.FinishedAt = o.FinishedAt
	a.Log, a.LogSize, a.Tests, a.Image = o.Log, o.LogSize, o.Tests, o.Image
	a.Holders, a.Replicas = o.Holders, len(o.Holders)
	if e := a.Evaluated; e != nil { // served its purpose, but for what later modules must not show
		a.Evaluated = nil
		if len(e.SealedDerived) > 0 {
			a.Evaluated = &pipeline.Evaluated{SealedDerived: e.SealedDerived}
		}
	}

	if a.Cache != nil {
		a.Cache.Parts, a.Cache.Inputs = nil, nil // so did these
	}
}

func (st *state) applyEnd(e *End, at time.Time) refusal {
	r := st.runs.run(e.Run)
	if r == nil {
		return refusal{reason: "no such run"}
	}

	if why := badName("the module's name", e.Module); why != "" {
		return refusal{reason: why}
	}

	m := st.runs.module(e.Run, e.Module)
	last := m.Last()
	switch {
	case r.State.Final() || m.State.Final():
		return refusal{reason: "module is " + string(m.State), duplicate: m.State == e.State}
	case !e.State.Final() || e.State == pipeline.ModuleSucceeded:
		return refusal{reason: fmt.Sprintf("no module ends %.40q without an outcome", e.State)}
	case last != nil && !last.State.Final():
		return refusal{reason: "an attempt is live"}
	case m.LiveChild() != nil:
		return refusal{reason: "its child is live"}
	}

	if e.State == pipeline.ModuleCached {
		if why := st.hit(r, m, e); why != "" {
			return refusal{reason: why}
		}
	}

	m.State, m.Reason, m.FinishedAt, m.NotBefore = e.State, e.Reason, at, time.Time{}
	m.Blocked = e.Blocked && e.State == pipeline.ModuleSkipped
	if m.State == pipeline.ModuleFailed {
		st.happenedIn(r, m.Name, pipeline.Event{Type: pipeline.EventAttemptFinished, State: string(m.State), Reason: e.Reason})
	}
	countEnd(r, m, e.Ignored)
	st.runs.putModule(r.ID, m)
	st.runs.touch(r)

	return refusal{}
}

// hit ends a module with a cached result. It returns why it cannot, "" if it
// did.
func (st *state) hit(r *pipeline.Run, m *pipeline.ModuleRecord, e *End) string {
	if e.Cache != nil {
		for _, n := range e.Cache.Needs {
			if !st.runs.module(r.ID, n).State.Success() {
				return "waits for " + n
			}
		}
	}
	return st.cache.hit(m, e)
}

func (st *state) applyAssign(op *Assign, at time.Time) refusal {
	r := st.runs.run(op.ID.Run)
	switch {
	case r == nil:
		return refusal{reason: "no such run"}
	case r.State == pipeline.RunCancelling && op.Always && !r.Forced:
	case r.State != pipeline.RunWaiting && r.State != pipeline.RunRunning:
		return refusal{reason: "run is " + string(r.State)}
	}

	if op.Worker == "" {
		return refusal{reason: "no worker is named"}
	}

	if _, why := waitsFor(st.tx.Bucket(bQueues), r); why != "" {
		return refusal{reason: "run " + why}
	}

	if why := badName("the module's name", op.ID.Module); why != "" {
		return refusal{reason: why}
	}

	m := st.runs.module(op.ID.Run, op.ID.Module)
	last := m.Last()
	switch {
	case m.State != pipeline.ModuleWaiting || last != nil && !last.State.Final():
		return refusal{reason: "module is " + string(m.State)}
	case m.ApprovalWait != nil:
		return refusal{reason: "module waits for an approval"}
	case op.ID.Attempt != len(m.Attempts)+1:
		return refusal{reason: fmt.Sprintf("next attempt is %d", len(m.Attempts)+1)}
	}

	if n := st.unmet(op.ID.Run, op.Needs, op.Always, op.NotFailed); n != "" {
		return refusal{reason: "waits for " + n}
	}

	if why := st.locks.lock(op); why != "" {
		return refusal{reason: why}
	}

	why := ""
	if last != nil && last.State == pipeline.AttemptSucceeded || last == nil && m.Losses > 0 {
		why = m.Reason // it had succeeded, and this is why that does not do
	}

	m.Attempts = append(m.Attempts, pipeline.Attempt{
		Reason: why,
		Number: op.ID.Attempt, Worker: op.Worker, WorkerName: op.WorkerName, State: pipeline.AttemptAssigned,
		AssignedAt: at, Fence: st.index, Incarnation: op.Incarnation, Evaluated: op.Evaluated, Predecessor: op.Predecessor,
		Locks: op.Locks, Cache: op.Cache,
		LocalBytes: max(0, op.LocalBytes), Waited: op.Waited,
	})

	m.State, m.Reason, m.NotBefore = pipeline.ModuleRunning, "", time.Time{}
	r.Live++
	st.begin(r, at)
	if op.ID.Attempt > 1 {
		st.happenedIn(r, m.Name, pipeline.Event{Type: pipeline.EventAttemptStarted, Attempt: op.ID.Attempt, Node: op.WorkerName, Reason: againText(last, why)})
	}

	st.runs.putModule(r.ID, m)
	st.runs.touch(r)

	return refusal{}
}

// unmet is the first of the needs of a module that has not ended as it must have; ""
// if all have. always and notFailed are those of Assign.
func (st *state) unmet(run pipeline.RunID, needs []string, always, notFailed bool) string {
	for _, n := range needs {
		m := st.runs.module(run, n)
		if !m.State.Success() && !(always && m.State.Final()) && !(notFailed && m.NotFailed()) {
			return n
		}
	}
	return ""
}

// begin makes a run that waits one that runs.
func (st *state) begin(r *pipeline.Run, at time.Time) {
	if r.State == pipeline.RunWaiting {
		r.State, r.StartedAt = pipeline.RunRunning, at
		st.happenedTo(r, pipeline.Event{Type: pipeline.EventRunStarted})
		if r.Tries == 0 { // not after each retry in a queue
			st.notify(r, func(on []string) string {
				if slices.Contains(on, pipeline.NotifyStart) {
					return pipeline.NotifyStart
				}
				return ""
			})
		}
	}
}

// againText is why a module has another attempt after its last one.
func againText(last *pipeline.Attempt, why string) string {
	switch {
	case why != "" || last == nil:
		return why
	case last.Reason != "":
		return last.Reason
	}
	return fmt.Sprintf("attempt %d %s", last.Number, pipeline.Words(last.State))
}

func (st *state) applyRunEnd(e *RunEnd, at time.Time, ch *change) refusal {
	r := st.runs.run(e.Run)
	switch {
	case r == nil:
		return refusal{reason: "no such run"}
	case r.State.Final():
		return refusal{reason: "run is " + string(r.State), duplicate: r.State == e.State}
	case !e.State.Final():
		return refusal{reason: fmt.Sprintf("no run ends %.40q", e.State)}
	case r.Done < r.Modules:
		return refusal{reason: fmt.Sprintf("%d modules are not done", r.Modules-r.Done)}
	}

	r.State, r.FinishedAt = e.State, at
	if e.Reason != "" {
		r.Reason = e.Reason
	}

	if r.StartedAt.IsZero() {
		r.StartedAt = at
	}

	st.queues.leave(r)
	if r.Backfill != "" {
		st.schedules.filled(r, at, ch)
	}
	if r.Parent.Run != "" {
		st.endChild(r, at, ch)
	}
	st.runs.touch(r)
	st.happenedTo(r, pipeline.Event{Type: pipeline.EventRunFinished, State: string(r.State), Reason: r.Reason, Count: r.Failed})
	st.notifyEnd(r)

	return refusal{}
}

func (st *state) applyCopies(op *Copies) refusal {
	r, m, a, no := st.attempt(op.ID)
	if no.reason != "" {
		return no
	}
	a.Holders, a.Replicas = op.Holders, len(op.Holders)
	st.cache.move(a, op.ID, op.Holders)
	st.runs.putModule(r.ID, m)
	st.runs.touch(r)
	return refusal{}
}
