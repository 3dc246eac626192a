package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// executionKey is the idempotency key of the run that an execution becomes.
func executionKey(id string) string { return "exec:" + id }

// Execute makes a run of one module, placed on this node, and waits for its
// end unless async (settled 17).
func (b *backend) Execute(ctx context.Context, by api.Subject, in wire.ExecuteRequest, async bool) (wire.ExecuteResponse, bool, error) {
	n := b.node()
	out := wire.ExecuteResponse{ExecutionID: in.ExecutionID, WorkerID: n.cfg.Name}
	if in.ExecutionID == "" || len(in.ExecutionID) > 200 {
		return out, false, pipeline.Errorf(pipeline.Invalid, "executionId: want 1 to 200 characters")
	}
	def, inputs, err := moduleOfExecution(in)
	if err != nil {
		return out, false, err
	}
	if n.cfg.Slots == 0 {
		return out, false, pipeline.Errorf(pipeline.Invalid, "node %s runs no modules: its mode is %s", n.cfg.Name, n.cfg.Mode)
	}
	holders, err := n.secureWorkspace(ctx, inputs)
	if err != nil {
		return out, false, err
	}
	in.Timestamp = time.Time{} // a repeated request may carry another time
	raw, err := json.Marshal(in)
	if err != nil {
		return out, false, err
	}
	run, err := n.commitRun(ctx, def, pipeline.Run{ID: newRunID(), Key: executionKey(in.ExecutionID), Submitter: by.Name,
		Workspace: inputs, Holders: holders, PinWorker: n.id}, raw)
	if err != nil {
		return out, false, err
	}
	if async {
		if r, err := b.Run(ctx, run.ID, 0, 0, 0); err != nil || !r.State.Final() {
			return out, false, nil // accepted; a state that is behind says nothing
		}
	}
	return n.awaitExecution(ctx, run.ID, out)
}

// moduleOfExecution reads the protocol's module.
func moduleOfExecution(in wire.ExecuteRequest) (*pipeline.Pipeline, pipeline.Digest, error) {
	raw := in.SerializedModule
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = []byte(text)
	}
	var m wire.SerializedModule
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, "", pipeline.Errorf(pipeline.Invalid, "serializedModule: want an object with name and command or script: %w", err)
	}
	if m.Name == "" {
		m.Name = in.ModuleTypeName
	}
	switch {
	case !pipeline.ValidName(m.Name):
		return nil, "", pipeline.Errorf(pipeline.Invalid, "serializedModule.name %.80q: want 1 to 63 letters, digits, _ or -", m.Name)
	case (len(m.Command) == 0) == (m.Script == ""):
		return nil, "", pipeline.Errorf(pipeline.Invalid, "serializedModule: want exactly one of command and script")
	case m.Timeout < 0 || m.Grace < 0 || in.Timeout < 0:
		return nil, "", pipeline.Errorf(pipeline.Invalid, "timeout and grace must not be negative")
	}
	for _, p := range slices.Concat(m.Outputs, m.OutputsOptional, []string{in.WorkingDirectory}) {
		if strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") || strings.ContainsAny(p, "\\\x00") {
			return nil, "", pipeline.Errorf(pipeline.Invalid, "path %.200q: want one below the module's folder", p)
		}
	}
	mod := pipeline.Module{Name: m.Name, Command: m.Command, Script: m.Script, Env: map[string]string{}, InputsAll: true,
		Outputs: m.Outputs, OutputsOptional: m.OutputsOptional, Timeout: time.Duration(m.Timeout), Grace: time.Duration(m.Grace), WorkingDir: in.WorkingDirectory}
	if in.Timeout > 0 {
		mod.Timeout = time.Duration(in.Timeout)
	}
	if mod.Timeout == 0 {
		mod.Timeout = pipeline.DefaultTimeout
	}
	if mod.Grace == 0 {
		mod.Grace = pipeline.DefaultGrace
	}
	for k, v := range in.EnvironmentVariables {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.HasPrefix(k, "PIPELINED_") || strings.Contains(v, "\x00") {
			return nil, "", pipeline.Errorf(pipeline.Invalid, "environmentVariables: %.80q cannot be set", k)
		}
		mod.Env[k] = v
	}
	if len(in.DependencyResults) > 0 {
		raw, err := json.Marshal(in.DependencyResults)
		if err != nil || len(raw) > pipeline.MaxResultBytes {
			return nil, "", pipeline.Errorf(pipeline.Invalid, "dependencyResults: at most %d bytes of JSON", pipeline.MaxResultBytes)
		}
		mod.Env["DEPENDENCY_RESULTS"] = string(raw)
	}
	return &pipeline.Pipeline{Name: m.Name, Modules: []pipeline.Module{mod}}, m.Inputs, nil
}

// awaitExecution waits for the end of an execution's run.
func (n *Node) awaitExecution(ctx context.Context, id pipeline.RunID, out wire.ExecuteResponse) (wire.ExecuteResponse, bool, error) {
	var index uint64
	for {
		r, err := n.runAnywhere(ctx, id, index)
		if ctx.Err() != nil {
			return out, false, pipeline.Errorf(pipeline.Unknown, "the execution goes on: ask again with the same executionId")
		}
		if err != nil {
			if k := pipeline.KindOf(err); k != pipeline.Unavailable && k != pipeline.Unknown && k != pipeline.NotFound {
				return out, false, err
			}
			if !sleep(ctx, 100*time.Millisecond) {
				return out, false, pipeline.ErrUnknownOutcome
			}
			continue
		}
		if r.State.Final() && len(r.Modules) == 1 {
			return executionResult(out, r), true, nil
		}
		index = r.Index
	}
}

// runAnywhere reads a run here, or through a node that has the state.
func (n *Node) runAnywhere(ctx context.Context, id pipeline.RunID, after uint64) (wire.Run, error) {
	b := (*backend)(n)
	if n.state.HasState() {
		n.state.Fresh(ctx)
		return b.Run(ctx, id, after, 30*time.Second, 0)
	}
	leader, err := n.state.LeaderID()
	if err != nil {
		return wire.Run{}, err
	}
	var out wire.Run
	res, err := n.peers.Request(ctx, leader, http.MethodGet, fmt.Sprintf("/api/v1/runs/%s?index=%d&wait=30s", id, after), nil)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	return out, json.NewDecoder(res.Body).Decode(&out)
}

func executionResult(out wire.ExecuteResponse, r wire.Run) wire.ExecuteResponse {
	m := r.Modules[0]
	out.Success = m.State.Success()
	if m.Worker != "" {
		out.WorkerID = m.Worker
	}
	if m.StartedAt != nil && m.FinishedAt != nil {
		out.StartTime, out.EndTime = *m.StartedAt, *m.FinishedAt
		out.Duration = wire.Clock(m.FinishedAt.Sub(*m.StartedAt))
	}
	res, err := json.Marshal(map[string]any{"result": m.Result, "exitCode": m.ExitCode, "outputs": m.Outputs, "runId": r.ID})
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
		return "Cancelled"
	}
	if k := len(m.Attempts); k > 0 && m.Attempts[k-1].State == pipeline.AttemptTimedOut {
		return "TimedOut"
	}
	return "ModuleFailed"
}

// CancelExecution cancels the run that an execution became.
func (b *backend) CancelExecution(ctx context.Context, by api.Subject, in wire.CancelExecution) error {
	n := b.node()
	n.state.Fresh(ctx)
	var id pipeline.RunID
	err := n.store.View(func(v *fsm.View) error {
		r, ok := v.RunByKey(executionKey(in.ExecutionID))
		if !ok || r.State.Final() {
			return pipeline.Errorf(pipeline.NotFound, "no execution %q is running", in.ExecutionID)
		}
		id = r.ID
		return nil
	})
	if err != nil {
		return err
	}
	_, err = b.Cancel(ctx, by, id, wire.CancelRequest{Reason: in.Reason})
	return err
}
