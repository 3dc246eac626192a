package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// newRunID makes an id that sorts by time.
func newRunID() pipeline.RunID {
	u, err := uuid.NewV7()
	if err != nil {
		u = uuid.New() // no clock sequence; sorts anywhere, is as unique
	}
	return pipeline.RunID(strings.ReplaceAll(u.String(), "-", ""))
}

// Submit checks a pipeline, sees to the copies of its workspace and commits a
// run of it.
func (b *backend) Submit(ctx context.Context, by api.Subject, key string, in wire.SubmitRequest) (wire.RunCreated, error) {
	n := b.node()
	id := newRunID()
	if in.Cache != "" && in.Cache != pipeline.CacheOff && in.Cache != pipeline.CacheRefresh {
		return wire.RunCreated{}, pipeline.Errorf(pipeline.Invalid, "cache %.40q: want %q, %q or nothing", in.Cache, pipeline.CacheRefresh, pipeline.CacheOff)
	}
	def, err := n.compile(ctx, by, id, in)
	if err != nil {
		return wire.RunCreated{}, err
	}
	holders, err := n.secureWorkspace(ctx, in.Workspace)
	if err != nil {
		return wire.RunCreated{}, err
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return wire.RunCreated{}, fmt.Errorf("encode request: %w", err)
	}
	return n.commitRun(ctx, def, pipeline.Run{ID: id, Key: key, Submitter: by.Name, Workspace: in.Workspace, Holders: holders, Cache: in.Cache}, raw)
}

// commitRun makes a run exist. Without a key of the caller's it gets one of its
// own, so that a proposal can be repeated.
func (n *Node) commitRun(ctx context.Context, def *pipeline.Pipeline, run pipeline.Run, request []byte) (wire.RunCreated, error) {
	def, err := n.sealDefinition(def)
	if err != nil {
		return wire.RunCreated{}, err
	}
	raw, err := fsm.EncodeDefinition(def)
	if err != nil {
		return wire.RunCreated{}, err
	}
	run.Pipeline, run.Modules = def.Name, len(def.Modules)
	if x := def.Concurrency; x != nil {
		run.Group, run.Cancels = x.Group, x.CancelInProgress
	}
	if run.Key == "" {
		run.Key = "run:" + string(run.ID)
	}
	res, err := n.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Submit: &fsm.Submit{Run: run, Definition: raw,
		Fingerprint: n.requestDigest(request)}})
	if pipeline.KindOf(err) == pipeline.TooLarge {
		return wire.RunCreated{}, pipeline.Errorf(pipeline.TooLarge, "the pipeline is too large: packed it has %d bytes, and %d fit", len(raw), fsm.MaxCommandBytes)
	}
	if err != nil {
		return wire.RunCreated{}, err
	}
	repeated := res.Repeated && res.Run.ID != run.ID
	return wire.RunCreated{ID: res.Run.ID, Number: res.Run.Number, Repeated: repeated}, nil
}

// compile turns a source into the pipeline that is stored.
func (n *Node) compile(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.SubmitRequest) (*pipeline.Pipeline, error) {
	if in.FileName == "" {
		in.FileName = "pipeline.hcl"
	}
	inputs := language.Inputs{RunID: string(id), Submitter: by.Name, Env: in.Env, Targets: in.Targets, Tags: in.Tags, Skip: in.Skip}
	if in.Git != nil {
		inputs.Git = *in.Git
	}
	for name, text := range in.Variables {
		inputs.Variables = append(inputs.Variables, language.VariableInput{Name: name, Text: text, Origin: "the submission"})
	}
	sort.Slice(inputs.Variables, func(i, j int) bool { return inputs.Variables[i].Name < inputs.Variables[j].Name })
	inputs.Evaluator = n.eval
	file, diags := n.parsed.parse(in.FileName, []byte(in.Source))
	if len(diags) > 0 {
		return nil, sourceError(diags)
	}
	def, diags := file.Compile(ctx, inputs)
	if len(diags) > 0 {
		return nil, sourceError(diags)
	}
	return def, n.checkSecrets(ctx, file, def)
}

func sourceError(diags language.Diagnostics) error {
	e := &api.SourceError{}
	for _, d := range diags {
		e.Diagnostics = append(e.Diagnostics, wire.Diagnostic{File: d.File, Line: d.Line, Column: d.Column, EndColumn: d.EndColumn,
			Summary: d.Summary, Detail: d.Detail, SourceLine: d.SourceLine})
	}
	return e
}

// secureWorkspace sees to it that every blob of a workspace is here and on a
// second node, where there is one, and names the holders (settled 1).
func (n *Node) secureWorkspace(ctx context.Context, root pipeline.Digest) ([]pipeline.NodeID, error) {
	if root == "" {
		return nil, nil
	}
	if _, err := pipeline.ParseDigest(string(root)); err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "workspace: %w", err)
	}
	if missing, err := n.blobs.MissingOf(root); err != nil || len(missing) > 0 {
		tree, err := n.fabric.down.ReadTree(ctx, nil, root)
		if err != nil && pipeline.KindOf(err) == pipeline.Invalid {
			return nil, pipeline.Errorf(pipeline.Invalid, "workspace %s: %w", root, err)
		}
		if err == nil {
			err = n.fabric.down.Fetch(ctx, nil, append(tree.Digests(), root))
		}
		if err != nil {
			return nil, notSent(err)
		}
	}
	holders := []pipeline.NodeID{n.id}
	if len(n.state.Others()) == 0 {
		return holders, nil
	}
	var hints []pipeline.NodeID
	if leader, err := n.state.LeaderID(); err == nil {
		hints = append(hints, leader)
	}
	var last error
	for _, to := range n.state.Others(hints...) {
		if last = n.fabric.up.SendTree(ctx, to, root); last == nil {
			return append(holders, to), nil
		}
	}
	if len(n.state.Others()) == 0 {
		return holders, nil // they died meanwhile
	}
	return nil, pipeline.Errorf(pipeline.Unavailable, "no second node took the workspace: %w", last)
}

func notSent(err error) error {
	if pipeline.KindOf(err) != pipeline.NotFound {
		return err
	}
	return pipeline.Errorf(pipeline.Invalid, "the workspace is not here: send its blobs first (POST /api/v1/blobs/missing tells which): %w", err)
}

// evaluate is the orchestrator's way to language.Evaluate.
func (n *Node) evaluate(ctx context.Context, p *pipeline.Pipeline, m *pipeline.Module, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error) {
	if !m.Sensitive {
		return language.Evaluate(ctx, n.eval, p, m, deps)
	}
	scope, err := n.openScope(p)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "%w", err)
	}
	open := *p
	open.Scope = scope
	e, err := language.Evaluate(ctx, n.eval, &open, m, deps)
	if err != nil {
		return nil, hide(&scope, err)
	}
	return n.sealEvaluatedOf(p, m, e)
}

// Runs lists runs, newest first.
func (b *backend) Runs(_ context.Context, q api.RunQuery) (wire.RunList, error) {
	out := wire.RunList{Runs: []wire.RunSummary{}}
	if q.Limit <= 0 || q.Limit > 1000 {
		q.Limit = 100
	}
	before, err := parseCursor(q.Cursor)
	if err != nil {
		return out, err
	}
	err = b.store.View(func(v *fsm.View) error {
		v.Runs(before, func(r pipeline.Run) bool {
			if q.State != "" && r.State != q.State || q.Pipeline != "" && r.Pipeline != q.Pipeline {
				return true
			}
			if len(out.Runs) == q.Limit {
				out.Cursor = fmt.Sprintf("%x", out.Runs[q.Limit-1].Number)
				return false
			}
			out.Runs = append(out.Runs, summaryIn(v, r))
			return true
		})
		return nil
	})
	return out, err
}

func parseCursor(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	var n uint64
	if _, err := fmt.Sscanf(s, "%x", &n); err != nil || n == 0 || fmt.Sprintf("%x", n) != s {
		return 0, pipeline.Errorf(pipeline.Invalid, "cursor %.40q: use the one of the page before", s)
	}
	return n, nil
}

func summary(r pipeline.Run) wire.RunSummary {
	return wire.RunSummary{ID: r.ID, Number: r.Number, Pipeline: r.Pipeline, State: r.State, Reason: r.Reason, Submitter: r.Submitter,
		SubmittedAt: r.SubmittedAt.UTC(), StartedAt: timeOf(r.StartedAt), FinishedAt: timeOf(r.FinishedAt), Workspace: r.Workspace,
		ModuleCount: r.Modules - r.Replaced, ModulesDone: r.Done - r.Replaced, Schedule: r.Schedule, Tick: timeOf(r.Tick), Group: r.Group,
		Pinned: r.Pinned, ArtifactsGone: r.ArtifactsGone, LogsGone: r.LogsGone}
}

// summaryIn is summary with the reason why a run waits for its turn.
func summaryIn(v *fsm.View, r pipeline.Run) wire.RunSummary {
	out := summary(r)
	if r.State == pipeline.RunWaiting {
		if _, why := v.WaitsFor(&r); why != "" {
			out.Reason = why
		}
	}
	return out
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Run gives a run with its modules, when its index is past afterIndex or wait
// is over.
func (b *backend) Run(ctx context.Context, id pipeline.RunID, afterIndex uint64, wait time.Duration, since uint64) (wire.Run, error) {
	n := b.node()
	ctx, cancel := context.WithTimeout(ctx, wait+10*time.Second)
	defer cancel()
	var timeout <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timeout = t.C
	}
	for {
		changed := n.store.Changed(id)
		out, err := n.readRun(id, since)
		if err != nil || out.Index > afterIndex || wait == 0 || out.State.Final() {
			if err == nil {
				n.explainWaiting(ctx, &out)
			}
			return out, err
		}
		select {
		case <-changed:
			n.settle(ctx, id)
		case <-timeout:
			n.explainWaiting(ctx, &out)
			return out, nil
		case <-ctx.Done():
			return out, context.Cause(ctx)
		}
	}
}

// settleTime is for how long changes of a run are gathered before those who
// wait for them read it: people see no difference, and a run of a thousand
// short modules is not read a thousand times.
const settleTime = 40 * time.Millisecond

// settle waits for settleTime, or less where the run ends.
func (n *Node) settle(ctx context.Context, id pipeline.RunID) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		changed := n.store.Changed(id)
		var over bool
		_ = n.store.View(func(v *fsm.View) error { // closed: whoever reads next is told
			r, ok := v.Run(id)
			over = !ok || r.State.Final()
			return nil
		})
		if over {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (n *Node) readRun(id pipeline.RunID, since uint64) (wire.Run, error) {
	var out wire.Run
	err := n.store.View(func(v *fsm.View) error {
		r, ok := v.Run(id)
		if !ok {
			return noRun(id)
		}
		mods, err := v.RunModules(id)
		if err != nil {
			return err
		}
		recs := v.ModulesSince(id, since)
		out = wire.Run{RunSummary: summaryIn(v, r), Index: r.Index, Modules: []wire.Module{}}
		var ahead []pipeline.Module // those that have not ended
		var places []int
		for i := range mods {
			m := &mods[i]
			rec := recs[m.Name]
			if rec == nil && since > 0 {
				continue
			}
			if rec == nil {
				rec = &pipeline.ModuleRecord{Name: m.Name, State: pipeline.ModuleWaiting}
			}
			out.Modules = append(out.Modules, moduleOf(m, rec))
			if !rec.State.Final() {
				ahead = append(ahead, *m)
				places = append(places, len(out.Modules)-1)
			}
		}
		for i, d := range v.Expected(r.Pipeline, ahead) {
			out.Modules[places[i]].ExpectedSeconds = d.Seconds()
		}
		return nil
	})
	return out, err
}

func noRun(id pipeline.RunID) error { return pipeline.Errorf(pipeline.NotFound, "no run %s", id) }

func moduleOf(def *pipeline.Module, rec *pipeline.ModuleRecord) wire.Module {
	m := wire.Module{Name: rec.Name, Of: def.Of, State: rec.State, Reason: rec.Reason, DependsOn: def.DependsOn, Result: rec.Result,
		ExitCode: rec.ExitCode, Outputs: rec.OutputPaths, OutputBytes: rec.OutputBytes, StartedAt: timeOf(rec.StartedAt),
		FinishedAt: timeOf(rec.FinishedAt), NotBefore: timeOf(rec.NotBefore), Attempts: []wire.Attempt{}}
	m.Approval = gateOf(def, rec)
	if rec.ApprovalWait != nil && rec.State == pipeline.ModuleWaiting && m.Reason == "" {
		m.Reason = pipeline.WaitsForApproval(rec.ApprovalWait.Message)
	}
	if m.Outputs == nil {
		m.Outputs = []string{}
	}
	if len(m.Result) == 0 {
		m.Result = []byte("{}")
	}
	if !rec.StartedAt.IsZero() && !rec.FinishedAt.IsZero() {
		m.DurationSeconds = rec.FinishedAt.Sub(rec.StartedAt).Seconds()
	}
	for i := range rec.Attempts {
		a := &rec.Attempts[i]
		if a.From != nil { // nothing was tried
			if i == len(rec.Attempts)-1 && rec.State == pipeline.ModuleCached {
				m.CachedFrom = &wire.CachedFrom{Run: a.From.Run, Module: a.From.Module, Attempt: a.From.Attempt, Worker: a.WorkerName,
					DurationSeconds: rec.Recorded.Seconds()}
			}
			continue
		}
		m.Worker = a.WorkerName
		m.Attempts = append(m.Attempts, wire.Attempt{Number: a.Number, Worker: a.WorkerName, State: a.State, Reason: a.Reason,
			ExitCode: a.ExitCode, AssignedAt: timeOf(a.AssignedAt), StartedAt: timeOf(a.StartedAt), FinishedAt: timeOf(a.FinishedAt),
			LogSize: a.LogSize, Replicas: a.Replicas, LocalBytes: a.LocalBytes})
	}
	return m
}

// explainWaiting fills in why modules wait, where the orchestrator is here.
func (n *Node) explainWaiting(ctx context.Context, r *wire.Run) {
	if r.State.Final() {
		return
	}
	why, err := n.orch.Waiting(ctx, r.ID)
	if err != nil {
		return // not the leader, or it stops: the states are right without reasons
	}
	for i := range r.Modules {
		m := &r.Modules[i]
		switch now := why[m.Name]; {
		case m.State != pipeline.ModuleWaiting || now == "" || now == m.Reason:
		case m.Reason == "":
			m.Reason = now
		default: // why it waits again, and for what
			m.Reason += "; " + now
		}
	}
}

// Cancel asks for the end of a run.
func (b *backend) Cancel(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.CancelRequest) (wire.RunSummary, error) {
	reason := in.Reason
	if reason == "" {
		reason = "by " + by.Name
	}
	res, err := b.node().state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Cancel: &fsm.Cancel{Run: id, Reason: reason, Request: in.Request}})
	if err != nil {
		return wire.RunSummary{}, err
	}
	if res.Run.State.Final() {
		return summary(res.Run), pipeline.Errorf(pipeline.Conflict, "run %s is over: it %s", id, over(res.Run.State))
	}
	return summary(res.Run), nil
}

func over(s pipeline.RunState) string {
	switch s {
	case pipeline.RunCancelled:
		return "was cancelled"
	case pipeline.RunWarnings:
		return "succeeded with warnings"
	}
	return string(s)
}
