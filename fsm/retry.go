package fsm

import (
	"fmt"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// applyRetry resumes a finished run.
func (st *state) applyRetry(c *Command, ch *change) Result {
	op := c.Retry
	r := st.runs.run(op.Run)
	switch {
	case r == nil:
		return Result{Err: pipeline.NoRun(op.Run)}
	case op.Request != "" && slices.Contains(r.RetryKeys, op.Request):
		return Result{Run: *r} // the same request again
	case r.Tries == op.Tries+1 && !r.State.Final():
		return Result{Run: *r} // a repeat of the proposal that did it
	case !r.State.Final():
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "run %s has not finished: it is %s", op.Run, r.State)}
	case r.Tries != op.Tries:
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "run %s was retried meanwhile", op.Run)}
	case r.ArtifactsGone:
		return Result{Err: pipeline.FilesGone(op.Run)}
	case len(op.Modules) == 0:
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "run %s has nothing to retry: every module succeeded", op.Run)}
	}

	modules, err := st.retried(op)
	if err == nil {
		err = st.registry.use(c.Use)
	}
	if err != nil {
		return Result{Err: err}
	}

	st.waitAgain(r, modules)
	st.markEarlier(r.ID)
	st.resume(r, op.Request, c.At)
	st.queues.supersede(r, ch)
	st.queues.enter(r)
	st.runs.touch(r)
	st.runs.activate(r.ID)
	st.happenedTo(r, pipeline.Event{Type: pipeline.EventRunRetried, Actor: c.By, Count: len(modules)})
	ch.run(r.ID, true)

	return Result{Run: *r}
}

// retried returns the records of the modules that a retry names, each once.
func (st *state) retried(op *Retry) ([]*pipeline.ModuleRecord, error) {
	modules := make([]*pipeline.ModuleRecord, 0, len(op.Modules))
	seen := make(map[string]bool, len(op.Modules))
	for _, name := range op.Modules {
		if why := badName("the module's name", name); why != "" {
			return nil, pipeline.Errorf(pipeline.Invalid, "%s", why)
		}
		m := st.runs.module(op.Run, name)
		switch {
		case !m.State.Final():
			return nil, pipeline.Errorf(pipeline.Conflict, "module %s has not ended", name)
		case !seen[name]:
			seen[name] = true
			modules = append(modules, m)
		}
	}
	return modules, nil
}

// waitAgain makes modules wait, with fresh budgets. An approval is asked for again.
func (st *state) waitAgain(r *pipeline.Run, modules []*pipeline.ModuleRecord) {
	gone := map[string]bool{}
	for _, m := range modules {
		for i := range m.Instances {
			gone[pipeline.InstanceName(m.Name, m.Instances[i].Key)] = true
		}
	}

	for _, m := range modules {
		if gone[m.Name] {
			continue // goes with the module that it is of
		}
		uncount(r, m)
		st.collapse(r, m)
		kept := pipeline.ModuleRecord{Name: m.Name, State: pipeline.ModuleWaiting, Attempts: m.Attempts, Tried: len(m.Attempts), Children: m.Children}
		*m = kept
		st.runs.putModule(r.ID, m)
	}
}

// markEarlier marks the failures that are left once the modules of a retry wait.
func (st *state) markEarlier(run pipeline.RunID) {
	for _, m := range st.runs.records(run) {
		if m.State == pipeline.ModuleFailed && !m.Earlier {
			m.Earlier = true
			st.runs.putModule(run, m)
		}
	}
}

// resume makes a finished run one that runs, or waits in its queues.
func (st *state) resume(r *pipeline.Run, request string, at time.Time) {
	if idle := at.Sub(r.FinishedAt); !r.FinishedAt.IsZero() && idle > 0 {
		r.Idle += idle
	}

	r.State, r.Reason, r.FinishedAt = pipeline.RunRunning, "", time.Time{}
	r.Forced, r.TimedOut, r.CancelledBy, r.ByParent = false, false, "", false
	r.LogsGone = false // it makes new ones

	if request != "" {
		keys := append(slices.Clone(r.RetryKeys), request)
		r.RetryKeys = keys[max(0, len(keys)-maxRetryKeys):]
	}

	r.Events = 0
	r.Tries++
	r.RetriedAt = at

	if r.Group != "" || r.Queued {
		// It goes to the end of its queues, and has not started until its turn comes.
		r.State, r.StartedAt = pipeline.RunWaiting, time.Time{}
	}
}

// applyReopen makes a module that succeeded wait again.
func (st *state) applyReopen(op *Reopen) refusal {
	r := st.runs.run(op.Run)
	if r == nil {
		return refusal{reason: "no such run"}
	}

	if why := badName("the module's name", op.Module); why != "" {
		return refusal{reason: why}
	}

	m := st.runs.module(op.Run, op.Module)
	switch {
	case r.State != pipeline.RunRunning:
		return refusal{reason: "run is " + string(r.State)}
	case m.State != pipeline.ModuleSucceeded && m.State != pipeline.ModuleCached:
		return refusal{reason: "module is " + string(m.State), duplicate: m.State == pipeline.ModuleWaiting}
	case m.ApprovalWait != nil:
		return refusal{reason: "module is an approval, which leaves nothing that could be gone"}
	case m.LastChild() != nil:
		return refusal{reason: "module ran a pipeline, which leaves nothing that could be gone"}
	case op.Attempt != 0 && op.Attempt != len(m.Attempts):
		return refusal{reason: fmt.Sprintf("attempt %d has taken its place", len(m.Attempts))}
	}

	uncount(r, m)
	m.State, m.Reason = pipeline.ModuleWaiting, op.Reason
	m.Result, m.Outputs, m.OutputPaths, m.OutputCount, m.OutputBytes, m.ExitCode = nil, "", nil, 0, 0, nil
	m.StartedAt, m.FinishedAt, m.NotBefore, m.Recorded = time.Time{}, time.Time{}, time.Time{}, 0
	m.Losses++
	st.happenedIn(r, m.Name, pipeline.Event{Type: pipeline.EventModuleReopened, Reason: op.Reason})
	st.runs.putModule(r.ID, m)
	st.runs.touch(r)

	return refusal{}
}
