package fsm

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Await says that a module with an approval waits for it from now on. Refused
// unless the module waits, its run is live and every module of Needs has
// succeeded.
type Await struct {
	Run     pipeline.RunID `cbor:"1,keyasint"`
	Module  string         `cbor:"2,keyasint"`
	Message string         `cbor:"3,keyasint,omitempty"`
	// Deadline is when the wait ends by itself; zero means never.
	Deadline time.Time `cbor:"4,keyasint,omitempty"`
	Needs    []string  `cbor:"5,keyasint,omitempty"`
	// Always marks a module that runs although its run is being cancelled.
	Always bool `cbor:"6,keyasint,omitempty"`
	// NotFailed is that of Assign.
	NotFailed bool `cbor:"7,keyasint,omitempty"`
}

// Decide ends the wait of a module for its approval. As a command it is an
// approval by a person, in a batch what follows from the deadline. The first one
// counts: a repeat of the same decision changes nothing, another one is a
// conflict.
type Decide struct {
	Run      pipeline.RunID    `cbor:"1,keyasint"`
	Module   string            `cbor:"2,keyasint"`
	Decision pipeline.Decision `cbor:"3,keyasint"`
	// By is who decided; "" if the deadline did.
	By      string `cbor:"4,keyasint,omitempty"`
	Comment string `cbor:"5,keyasint,omitempty"`
	// Reason is what the module's record says.
	Reason string `cbor:"6,keyasint,omitempty"`
	// Ignored marks a failure that leaves its run succeeded with warnings.
	Ignored bool `cbor:"7,keyasint,omitempty"`
}

func (st *state) applyAwait(op *Await, at time.Time) refusal {
	r := st.runs.run(op.Run)
	switch {
	case r == nil:
		return refusal{reason: "no such run"}
	case r.State == pipeline.RunCancelling && op.Always && !r.Forced:
	case r.State != pipeline.RunWaiting && r.State != pipeline.RunRunning:
		return refusal{reason: "run is " + string(r.State)}
	}

	if why := badName("the module's name", op.Module); why != "" {
		return refusal{reason: why}
	}

	m := st.runs.module(op.Run, op.Module)
	switch {
	case m.State != pipeline.ModuleWaiting:
		return refusal{reason: "module is " + string(m.State)}
	case m.Last() != nil:
		return refusal{reason: "module has attempts"}
	case m.ApprovalWait != nil:
		return refusal{reason: "module waits for its approval", duplicate: true}
	}

	if n := st.unmet(op.Run, op.Needs, op.Always, op.NotFailed); n != "" {
		return refusal{reason: "waits for " + n}
	}

	m.ApprovalWait = &pipeline.ApprovalWait{Message: op.Message, Since: at, Deadline: op.Deadline}
	m.StartedAt = at
	r.Approvals++

	st.begin(r, at)
	st.happenedIn(r, m.Name, pipeline.Event{Type: pipeline.EventApprovalAsked, Reason: op.Message})

	st.runs.putModule(r.ID, m)
	st.runs.touch(r)

	return refusal{}
}

// applyDecide applies a decision. The error is of kind NotFound, Invalid or
// Conflict, and nil if the same decision was made before.
func (st *state) applyDecide(op *Decide, at time.Time) (changed bool, err error) {
	r := st.runs.run(op.Run)
	if r == nil {
		return false, pipeline.NoRun(op.Run)
	}

	if why := badName("the module's name", op.Module); why != "" {
		return false, pipeline.Errorf(pipeline.Invalid, "%s", why)
	}

	next := op.Decision.State()
	if next == "" {
		return false, pipeline.Errorf(pipeline.Invalid, "decision %.40q: expected approved, rejected or skipped", op.Decision)
	}

	m := st.runs.module(op.Run, op.Module)
	g := m.ApprovalWait
	switch {
	case g != nil && g.Decision == op.Decision:
		return false, nil
	case g != nil && g.Decision != "":
		return false, pipeline.Errorf(pipeline.Conflict, "%s was decided before: %s", op.Module, m.Reason)
	case m.State.Final() || r.State.Final():
		return false, pipeline.Errorf(pipeline.Conflict, "%s has finished: it is %s%s", op.Module, m.State, because(m.Reason))
	case g == nil || m.State != pipeline.ModuleWaiting:
		return false, pipeline.Errorf(pipeline.Conflict, "%s does not wait for an approval now: it is %s%s", op.Module, m.State, because(m.Reason))
	}

	if op.By == "" && !g.Deadline.IsZero() {
		at = g.Deadline
	}

	g.Decision, g.By, g.Comment, g.DecidedAt = op.Decision, op.By, op.Comment, at
	m.State, m.Reason, m.FinishedAt, m.NotBefore = next, op.Reason, at, time.Time{}
	m.Result = g.Result()
	countEnd(r, m, op.Ignored)
	st.happenedIn(r, m.Name, pipeline.Event{Type: pipeline.EventApprovalDecided, Actor: op.By, State: string(op.Decision), Reason: op.Comment})
	st.runs.putModule(r.ID, m)
	st.runs.touch(r)

	return true, nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", reason)
}

// applyDecision applies the decision of a person.
func (st *state) applyDecision(c *Command, ch *change) Result {
	changed, err := st.applyDecide(c.Decide, c.At)
	if err != nil {
		return Result{Err: err}
	}
	if changed {
		ch.run(c.Decide.Run, true)
	}
	return Result{Run: *st.runs.run(c.Decide.Run)}
}

// applyTimeUp applies the decision that follows from a deadline.
func (st *state) applyTimeUp(op *Decide, at time.Time) refusal {
	changed, err := st.applyDecide(op, at)
	switch {
	case err != nil:
		return refusal{reason: err.Error()}
	case !changed:
		return refusal{reason: "decided before", duplicate: true}
	}
	return refusal{}
}
