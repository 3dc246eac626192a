package external

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxExecutionID bounds an execution's id, in characters.
	maxExecutionID = 200
	// executionPoll is how long one read of an execution's run waits for a change.
	executionPoll = 30 * time.Second
	// executionPause is the pause after a read that failed.
	executionPause = 100 * time.Millisecond
)

// ExecutionsConfig says what Executions is made of. All fields are needed.
type ExecutionsConfig struct {
	Self  pipeline.NodeID
	Name  string
	Mode  pipeline.Mode
	Slots int
	State *state.State
	Peers *peer.Client
	// Runs makes an execution a run.
	Runs       *service.Runs
	Workspaces service.Workspaces
}

// Executions runs single modules for programs that speak the protocol. It
// implements api.Executions. It is safe for concurrent use.
type Executions struct {
	cfg ExecutionsConfig
}

// NewExecutions makes an Executions.
func NewExecutions(cfg ExecutionsConfig) *Executions { return &Executions{cfg: cfg} }

// executionKey is the idempotency key of the run that an execution becomes.
func executionKey(id string) string { return "exec:" + id }

// Execute makes a run of one module, which is placed on this node, and waits for
// its end unless async is set (settled 17). The same id again joins the run that
// exists.
func (e *Executions) Execute(ctx context.Context, by api.Subject, in wire.ExecuteRequest, async bool) (wire.ExecuteResponse, bool, error) {
	out := wire.ExecuteResponse{ExecutionID: in.ExecutionID, WorkerID: e.cfg.Name}
	if in.ExecutionID == "" || len(in.ExecutionID) > maxExecutionID {
		return out, false, pipeline.Errorf(pipeline.Invalid, "executionId: expected 1 to %d characters", maxExecutionID)
	}
	def, inputs, err := moduleOf(in)
	if err != nil {
		return out, false, err
	}
	if e.cfg.Slots == 0 {
		return out, false, pipeline.Errorf(pipeline.Invalid, "node %s runs no modules: its mode is %s", e.cfg.Name, e.cfg.Mode)
	}
	holders, err := e.cfg.Workspaces.Secure(ctx, inputs)
	if err != nil {
		return out, false, err
	}

	in.Timestamp = time.Time{} // a repeated request may carry another time
	request, err := json.Marshal(in)
	if err != nil {
		return out, false, err
	}
	run, err := e.cfg.Runs.Commit(ctx, by, def, pipeline.Run{ID: service.NewRunID(), Key: executionKey(in.ExecutionID),
		Workspace: inputs, Holders: holders, PinWorker: e.cfg.Self}, request)
	if err != nil {
		return out, false, err
	}
	if async {
		if run, err := e.cfg.Runs.Run(ctx, run.ID, 0, 0, 0); err != nil || !run.State.Final() {
			return out, false, nil // accepted; a state that is behind says nothing
		}
	}
	return e.wait(ctx, run.ID, out)
}

// wait waits until the run of an execution has finished. It reads again after an
// error that may pass; the state of this node may be behind.
func (e *Executions) wait(ctx context.Context, id pipeline.RunID, out wire.ExecuteResponse) (wire.ExecuteResponse, bool, error) {
	var index uint64
	run, err := backoff.Retry(ctx, func() (wire.Run, error) {
		for {
			run, err := e.read(ctx, id, index)
			if err != nil {
				return run, passing(err)
			}
			if run.State.Final() && len(run.Modules) == 1 {
				return run, nil
			}
			index = run.Index
		}
	}, backoff.WithBackOff(backoff.NewConstantBackOff(executionPause)), backoff.WithMaxElapsedTime(0))
	if ctx.Err() != nil {
		return out, false, pipeline.Errorf(pipeline.Unknown, "the execution continues: ask again with the same executionId")
	}
	if err != nil {
		return out, false, err
	}
	return response(out, run), true, nil
}

// passing marks an error permanent unless a later read may succeed.
func passing(err error) error {
	switch pipeline.KindOf(err) {
	case pipeline.Unavailable, pipeline.Unknown, pipeline.NotFound:
		return err
	}
	return backoff.Permanent(err)
}

// read reads a run from the state here, or through the leader if it is not here.
func (e *Executions) read(ctx context.Context, id pipeline.RunID, after uint64) (wire.Run, error) {
	if e.cfg.State.HasState() {
		e.cfg.State.Fresh(ctx)
		return e.cfg.Runs.Run(ctx, id, after, executionPoll, 0)
	}

	var out wire.Run
	leader, err := e.cfg.State.LeaderID()
	if err != nil {
		return out, err
	}
	path := fmt.Sprintf("/api/v1/runs/%s?index=%d&wait=%s", id, after, executionPoll)
	res, err := e.cfg.Peers.Request(ctx, leader, http.MethodGet, path, nil)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	return out, json.NewDecoder(res.Body).Decode(&out)
}

// response translates a finished run into the protocol.
func response(out wire.ExecuteResponse, run wire.Run) wire.ExecuteResponse {
	m := run.Modules[0]
	out.Success = m.State.Success()
	if m.Worker != "" {
		out.WorkerID = m.Worker
	}
	if m.StartedAt != nil && m.FinishedAt != nil {
		out.StartTime, out.EndTime = *m.StartedAt, *m.FinishedAt
		out.Duration = wire.Clock(m.FinishedAt.Sub(*m.StartedAt))
	}
	res, err := json.Marshal(map[string]any{"result": m.Result, "exitCode": m.ExitCode, "outputs": m.Outputs, "runId": run.ID})
	if err == nil {
		out.SerializedResult = string(res)
	}
	if !out.Success {
		out.ErrorMessage, out.ExceptionType = m.Reason, exceptionOf(m)
	}
	return out
}

func exceptionOf(m wire.Module) string {
	if m.State == pipeline.ModuleCancelled {
		return exceptionCancelled
	}
	if n := len(m.Attempts); n > 0 && m.Attempts[n-1].State == pipeline.AttemptTimedOut {
		return exceptionTimedOut
	}
	return exceptionFailed
}

// CancelExecution cancels the run of an execution.
func (e *Executions) CancelExecution(ctx context.Context, by api.Subject, in wire.CancelExecution) error {
	e.cfg.State.Fresh(ctx)
	var id pipeline.RunID
	err := e.cfg.State.View(func(v *fsm.View) error {
		run, ok := v.RunByKey(executionKey(in.ExecutionID))
		if !ok || run.State.Final() {
			return pipeline.Errorf(pipeline.NotFound, "no execution %q is running", in.ExecutionID)
		}
		id = run.ID
		return nil
	})
	if err != nil {
		return err
	}
	_, err = e.cfg.Runs.Cancel(ctx, by, id, wire.CancelRequest{Reason: in.Reason})
	return err
}
