package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// outsideClient calls outside workers: short bounds, no redirects, and no
// proxy of this machine's.
var outsideClient = &http.Client{
	Timeout:       10 * time.Second,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: 10 * time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Register takes an outside worker in. Registering again under the same id
// replaces what was said before; what it had is lost.
func (b *backend) Register(ctx context.Context, by api.Subject, in wire.RegisterRequest) (wire.RegisterResponse, error) {
	n := b.node()
	w := in.WorkerNode
	if err := checkRegistration(w); err != nil {
		return wire.RegisterResponse{}, err
	}
	id := pipeline.NodeID(pipeline.ExternalPrefix + w.ID)
	if old, ok := n.findOutside(string(id)); ok && old.Token != "" && by.Role == api.RoleWorker && old.Token != string(by.Worker) {
		return wire.RegisterResponse{}, pipeline.Errorf(pipeline.Forbidden, "worker %s was registered with another token", w.ID)
	}
	caps := w.Capabilities
	if caps.Tags == nil {
		caps.Tags = []string{}
	}
	if caps.InstalledTools == nil {
		caps.InstalledTools = []string{}
	}
	name := w.Name
	if name == "" {
		name = w.ID
	}
	rec := fsm.WorkerRecord{ID: id, Name: name, Outside: true, Endpoint: strings.TrimRight(w.Endpoint, "/"), Secret: randomHex(24),
		Token: string(by.Worker), Capabilities: caps, Since: time.Now().UTC(), Incarnation: randomHex(8)}
	if err := n.setWorker(ctx, "", rec); err != nil {
		return wire.RegisterResponse{}, err
	}
	beat := n.cfg.Timing.Heartbeat
	if beat <= 0 {
		beat = orchestrator.DefaultTiming().Heartbeat
	}
	return wire.RegisterResponse{Success: true, WorkerID: w.ID, HeartbeatIntervalSeconds: max(1, int(beat/time.Second)), Secret: rec.Secret}, nil
}

func checkRegistration(w wire.WorkerNode) error {
	if !pipeline.ValidName(w.ID) {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.id %.80q: want 1 to 63 letters, digits, _ or -", w.ID)
	}
	u, err := url.Parse(w.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.endpoint %.200q: want http://HOST:PORT or https://HOST:PORT", w.Endpoint)
	}
	c := w.Capabilities
	if c.MaxParallelModules < 1 || c.MaxParallelModules > 10_000 {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.capabilities.maxParallelModules %d: want 1 to 10000", c.MaxParallelModules)
	}
	if !(c.CPU >= 0 && c.CPU <= maxCPU) || c.Memory < 0 {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.capabilities: cpu %v and memory %d: want a number of processors up to %d and a number of bytes", c.CPU, c.Memory, maxCPU)
	}
	if len(c.Tags) == 0 {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.capabilities.tags is empty: only modules that require one of them would come")
	}
	if len(c.Tags) > 100 || len(c.InstalledTools) > maxTools || len(w.Name) > 63 {
		return pipeline.Errorf(pipeline.Invalid, "workerNode: at most 100 tags, %d tools and 63 bytes of name", maxTools)
	}
	return nil
}

// findOutside finds an outside worker by its id, with or without the prefix, or
// its name.
func (n *Node) findOutside(name string) (found fsm.WorkerRecord, ok bool) {
	_ = n.store.View(func(v *fsm.View) error { // closed: none
		for _, w := range v.Workers() {
			if w.Outside && (string(w.ID) == name || string(w.ID) == pipeline.ExternalPrefix+name || w.Name == name) {
				found, ok = w, true
			}
		}
		return nil
	})
	return found, ok
}

// mine checks that a caller speaks for an outside worker.
func mine(by api.Subject, w fsm.WorkerRecord) error {
	if by.Role == api.RoleWorker && w.Token != string(by.Worker) {
		return pipeline.Errorf(pipeline.Forbidden, "worker %s was registered with another token", w.Name)
	}
	return nil
}

// Heartbeat notes that an outside worker is alive.
func (b *backend) Heartbeat(ctx context.Context, by api.Subject, in wire.HeartbeatRequest) (wire.HeartbeatResponse, error) {
	n := b.node()
	w, ok := n.findOutside(pipeline.ExternalPrefix + in.WorkerID)
	if !ok {
		return wire.HeartbeatResponse{}, nil
	}
	if err := mine(by, w); err != nil {
		return wire.HeartbeatResponse{}, err
	}
	known, drain, err := n.orch.Heartbeat(ctx, w.ID, in.CurrentLoad)
	return wire.HeartbeatResponse{Acknowledged: known, ShouldDrain: drain}, err
}

// Workers lists everybody who can work.
func (b *backend) Workers(ctx context.Context) (wire.WorkerList, error) {
	n := b.node()
	out := wire.WorkerList{Workers: []wire.WorkerNode{}}
	list, err := n.orch.Workers(ctx)
	if err != nil {
		return out, err
	}
	endpoint := map[pipeline.NodeID]string{}
	for _, m := range n.cluster.Members() {
		scheme := "http://"
		if m.HTTPS {
			scheme = "https://"
		}
		endpoint[m.ID] = scheme + m.HTTPAddr
	}
	for _, w := range list {
		e := w.Endpoint
		if e == "" {
			e = endpoint[w.ID]
		}
		out.Workers = append(out.Workers, wire.WorkerNode{ID: strings.TrimPrefix(string(w.ID), pipeline.ExternalPrefix), Name: w.Name, Endpoint: e,
			Capabilities: w.Capabilities, CurrentLoad: w.CurrentLoad, Reserved: w.Reserved, Status: w.Status, Outside: w.Outside})
	}
	return out, nil
}

// ForgetWorker removes an outside worker.
func (b *backend) ForgetWorker(ctx context.Context, by api.Subject, id string) error {
	n := b.node()
	w, ok := n.findOutside(id)
	if !ok {
		return pipeline.Errorf(pipeline.NotFound, "no outside worker %q: members of the cluster go away by leaving it", id)
	}
	if err := mine(by, w); err != nil {
		return err
	}
	_, err := n.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: w.ID}, Delete: true}})
	return err
}

// dispatchOutside sends attempts to an outside worker, one execution each.
func (n *Node) dispatchOutside(ctx context.Context, id pipeline.NodeID, in peer.DispatchRequest) error {
	w, ok := n.findOutside(string(id))
	if !ok {
		return pipeline.Errorf(pipeline.NotFound, "no outside worker %s", id)
	}
	for i := range in.Specs {
		s := &in.Specs[i]
		if s.Private && !strings.HasPrefix(w.Endpoint, "https://") {
			// The planner does not place them there either.
			return pipeline.Errorf(pipeline.Forbidden, "%s holds secrets, which are not sent to %s over plain http", s.ID, w.Name)
		}
		body, err := n.executionOf(ctx, s)
		if err != nil {
			return err
		}
		if err := n.callOutside(ctx, w, "/api/execution/execute", body); err != nil {
			return err
		}
	}
	return nil
}

// executionOf puts an attempt in the protocol's words. What its dependencies
// left is merged into one tree of input files, made here.
func (n *Node) executionOf(ctx context.Context, s *pipeline.Spec) (*wire.ExecuteRequest, error) {
	inputs, err := n.inputTree(ctx, s)
	if err != nil {
		return nil, err
	}
	mod, err := json.Marshal(wire.SerializedModule{Name: s.ID.Module, Command: s.Command, Script: s.Script, Inputs: inputs,
		Outputs: s.Outputs, OutputsOptional: s.OutputsOptional, Timeout: wire.Clock(s.Timeout), Grace: wire.Clock(s.Grace)})
	if err != nil {
		return nil, err
	}
	env := map[string]string{"CI": "true", "PIPELINED_RUN_ID": string(s.ID.Run), "PIPELINED_PIPELINE": s.Pipeline,
		"PIPELINED_MODULE": s.ID.Module, "PIPELINED_ATTEMPT": fmt.Sprint(s.ID.Attempt)}
	for k, v := range s.Env {
		env[k] = v
	}
	for k, v := range s.Secrets {
		env[k] = v
	}
	return &wire.ExecuteRequest{ExecutionID: s.ID.String(), SerializedModule: mod, ModuleTypeName: s.ID.Module,
		EnvironmentVariables: env, WorkingDirectory: s.WorkingDir, Timeout: wire.Clock(s.Timeout), Timestamp: time.Now().UTC()}, nil
}

func (n *Node) inputTree(ctx context.Context, s *pipeline.Spec) (pipeline.Digest, error) {
	var base storage.Tree
	if s.Workspace != "" && (s.InputsAll || len(s.Inputs) > 0) {
		t, err := n.fabric.down.ReadTree(ctx, s.Holders, s.Workspace)
		if err != nil {
			return "", err
		}
		if !s.InputsAll {
			t = t.Filter(s.Inputs)
		}
		base = t
	}
	var over []storage.NamedTree
	for _, u := range s.Upstream {
		t, err := n.fabric.down.ReadTree(ctx, u.Holders, u.Outputs)
		if err != nil {
			return "", err
		}
		if s.Layout == "by-module" {
			t = t.Below(u.Module)
		}
		over = append(over, storage.NamedTree{Name: u.Module, Tree: t})
	}
	if len(base) == 0 && len(over) == 0 {
		return "", nil
	}
	all, err := storage.Merge(base, over...)
	if err != nil {
		return "", err
	}
	raw, err := storage.EncodeTree(all)
	if err != nil {
		return "", err
	}
	return n.blobs.PutBytes(ctx, raw)
}

func (n *Node) callOutside(ctx context.Context, w fsm.WorkerRecord, path string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Endpoint+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+w.Secret)
	req.Header.Set("Prefer", "respond-async")
	res, err := outsideClient.Do(req)
	if err != nil {
		return fmt.Errorf("call outside worker %s: %w", w.Name, err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // only for the message
	if res.StatusCode >= 300 && res.StatusCode != http.StatusNotFound {
		return pipeline.Errorf(pipeline.Unavailable, "outside worker %s answered %s: %.200s", w.Name, res.Status, text)
	}
	return nil
}

func (n *Node) stopOutside(ctx context.Context, id pipeline.NodeID, in peer.StopRequest) error {
	w, ok := n.findOutside(string(id))
	if !ok {
		return nil
	}
	for _, a := range in.IDs {
		err := n.callOutside(ctx, w, "/api/execution/cancel", wire.CancelExecution{ExecutionID: a.String(), Reason: in.Reason, Timestamp: time.Now().UTC()})
		if err != nil {
			return err
		}
	}
	return nil
}

// Result takes the outcome of an execution from an outside worker. Its blobs
// must be in the cluster; they are brought here, so that there are two copies
// where the worker sent them to another node.
func (b *backend) Result(ctx context.Context, by api.Subject, in wire.ExecuteResponse) (wire.ResultResponse, error) {
	n := b.node()
	id, err := pipeline.ParseAttemptID(in.ExecutionID)
	if err != nil {
		return wire.ResultResponse{}, pipeline.Errorf(pipeline.Invalid, "executionId: %w", err)
	}
	worker := pipeline.NodeID(pipeline.ExternalPrefix + strings.TrimPrefix(in.WorkerID, pipeline.ExternalPrefix))
	w, ok := n.findOutside(string(worker))
	if !ok {
		return wire.ResultResponse{}, pipeline.Errorf(pipeline.NotFound, "no outside worker %q: register first", in.WorkerID)
	}
	if err := mine(by, w); err != nil {
		return wire.ResultResponse{}, err
	}
	o, err := n.outcomeOf(ctx, id, worker, in)
	if err != nil {
		return wire.ResultResponse{}, err
	}
	out, err := n.orch.Report(ctx, peer.ReportRequest{Worker: worker, Reports: []peer.Report{{ID: id, Outcome: o}}})
	if err != nil {
		return wire.ResultResponse{}, err
	}
	return wire.ResultResponse{Committed: out.Acks[0].Done, Reason: out.Acks[0].Refused}, nil
}

func (n *Node) outcomeOf(ctx context.Context, id pipeline.AttemptID, worker pipeline.NodeID, in wire.ExecuteResponse) (*pipeline.Outcome, error) {
	var res wire.SerializedResult
	if in.SerializedResult != "" {
		if err := json.Unmarshal([]byte(in.SerializedResult), &res); err != nil {
			return nil, pipeline.Errorf(pipeline.Invalid, "serializedResult: want a JSON object with result, exitCode, outputs, log: %w", err)
		}
	}
	if len(res.Result) > pipeline.MaxResultBytes {
		return nil, pipeline.Errorf(pipeline.TooLarge, "result of %d bytes: at most %d", len(res.Result), pipeline.MaxResultBytes)
	}
	if err := n.hideFromRun(id.Run, &res, &in); err != nil {
		return nil, err
	}
	o := &pipeline.Outcome{ID: id, Worker: worker, State: pipeline.AttemptSucceeded, Reason: in.ErrorMessage, ExitCode: res.ExitCode,
		StartedAt: in.StartTime.UTC(), FinishedAt: in.EndTime.UTC(), Result: res.Result, Holders: []pipeline.NodeID{n.id}, Log: res.Log, Outputs: res.Outputs}
	switch {
	case in.Success:
		o.Reason = ""
	case in.ExceptionType == "Cancelled":
		o.State = pipeline.AttemptCancelled
	case in.ExceptionType == "TimedOut":
		o.State = pipeline.AttemptTimedOut
	default:
		o.State = pipeline.AttemptFailed
	}
	if now := time.Now().UTC(); o.FinishedAt.IsZero() || o.FinishedAt.After(now) {
		o.FinishedAt = now
	}
	var want []pipeline.Digest
	for _, d := range []pipeline.Digest{res.Log, res.Outputs} {
		if d == "" {
			continue
		}
		if _, err := pipeline.ParseDigest(string(d)); err != nil {
			return nil, pipeline.Errorf(pipeline.Invalid, "serializedResult: %w", err)
		}
		want = append(want, d)
	}
	if err := n.fabric.down.Fetch(ctx, nil, want); err != nil {
		return nil, blobsFirst(err)
	}
	if res.Log != "" {
		var err error
		if o.Log, o.LogSize, err = n.storeLog(ctx, res.Log); err != nil {
			return nil, err
		}
		want[0] = o.Log
	}
	if res.Outputs != "" {
		tree, err := n.fabric.down.ReadTree(ctx, nil, res.Outputs)
		if err != nil {
			return nil, pipeline.Errorf(pipeline.Invalid, "outputs: %w", err)
		}
		if err := n.fabric.down.Fetch(ctx, nil, tree.Digests()); err != nil {
			return nil, blobsFirst(err)
		}
		want = append(want, tree.Digests()...)
		for i := range tree {
			o.OutputCount++
			o.OutputBytes += tree[i].Size
			if len(o.OutputPaths) < pipeline.MaxOutputPaths {
				o.OutputPaths = append(o.OutputPaths, tree[i].Path)
			}
		}
	}
	if to := n.fabric.up.SecondCopy(ctx, want); to != "" {
		o.Holders = append(o.Holders, to)
	}
	return o, nil
}

// storeLog stores a log that was sent as a plain blob, which is here, in the form
// that logs have. It gives the digest of that and the length of the plain bytes.
func (n *Node) storeLog(ctx context.Context, plain pipeline.Digest) (stored pipeline.Digest, size int64, err error) {
	blob, err := n.blobs.Open(plain)
	if err != nil {
		return "", 0, blobsFirst(err)
	}
	defer blob.Close()
	stored, err = storage.PutLog(ctx, n.blobs, blob.Size(), blob)
	return stored, blob.Size(), err
}

func blobsFirst(err error) error {
	if pipeline.KindOf(err) == pipeline.NotFound {
		return pipeline.Errorf(pipeline.Invalid, "send log and outputs first (PUT /api/v1/blobs/DIGEST): %w", err)
	}
	return err
}
