package history_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/history"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/state/statetest"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var sam = api.Subject{Name: "sam", Role: api.RoleAdmin}

// changedFiles is what differs between two workspaces.
type changedFiles struct {
	lines []string
	err   error
}

func (f changedFiles) Changed(context.Context, orchestrator.Files, orchestrator.Files, int) ([]string, error) {
	return f.lines, f.err
}

// noWorkspaces has those of runs without one.
type noWorkspaces struct{}

func (noWorkspaces) Secure(context.Context, pipeline.Digest) ([]pipeline.NodeID, error) {
	return nil, nil
}

// rig is a state with what submits runs to it.
type rig struct {
	*statetest.State
	tb        testing.TB
	runs      *service.Runs
	schedules *service.Schedules
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	k, err := keys.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{State: statetest.New(tb), tb: tb}
	secrets := service.NewSecrets(service.SecretsConfig{State: r.State.State, Keys: k})
	vault, compiler := service.NewVault(k, secrets, nil), service.NewCompiler(nil, secrets)
	tb.Cleanup(compiler.Close)
	r.runs = service.NewRuns(service.RunsConfig{State: r.State.State, Compiler: compiler, Vault: vault, Workspaces: noWorkspaces{},
		Full: func() string { return "" }, Logger: hclog.NewNullLogger()})
	r.schedules = service.NewSchedules(service.SchedulesConfig{State: r.State.State, Compiler: compiler, Vault: vault, Workspaces: noWorkspaces{}})
	return r
}

// history is over what the rig has; open reads lists of tests.
func (r *rig) history(f changedFiles, open func(context.Context, []pipeline.NodeID, pipeline.Digest) (api.Blob, error)) *history.History {
	return history.New(history.Config{State: r.State.State, Files: f, Open: open, Summary: r.runs.RunSummary, NextTick: service.NextTick})
}

// newRun makes a run of a pipeline p with the modules, which may be any blocks.
func (r *rig) newRun(blocks string) pipeline.RunID {
	r.tb.Helper()
	made, err := r.runs.Submit(r.tb.Context(), sam, "", wire.SubmitRequest{FileName: "test.hcl", Source: "pipeline \"p\" {\n" + blocks + "\n}\n"})
	if err != nil {
		r.tb.Fatal(err)
	}
	return made.ID
}

// finish runs a module on worker w1, and ends the attempt and the module.
func (r *rig) finish(run pipeline.RunID, module string, o pipeline.Outcome, next pipeline.ModuleState) {
	r.tb.Helper()
	id := pipeline.AttemptID{Run: run, Module: module}
	if err := r.View(func(v *fsm.View) error { id.Attempt = len(v.Module(run, module).Attempts) + 1; return nil }); err != nil {
		r.tb.Fatal(err)
	}
	r.Apply(&fsm.Command{Batch: &fsm.Batch{Assigns: []fsm.Assign{{ID: id, Worker: "id-w1", WorkerName: "w1"}}}})
	o.ID, o.FinishedAt = id, time.Now().UTC()
	r.Apply(&fsm.Command{Batch: &fsm.Batch{Outcomes: []fsm.Outcome{{Outcome: o, Next: next, Reason: o.Reason}}}})
}

// ranFor ends an attempt of a module that took so long.
func (r *rig) ranFor(run pipeline.RunID, module string, took time.Duration, state pipeline.AttemptState, next pipeline.ModuleState) {
	r.tb.Helper()
	r.finish(run, module, pipeline.Outcome{State: state, StartedAt: time.Now().Add(-took).UTC(), Reason: "exit code 1"}, next)
}

// end ends modules that did not run.
func (r *rig) end(run pipeline.RunID, state pipeline.ModuleState, reason string, modules ...string) {
	r.tb.Helper()
	for _, module := range modules {
		r.Apply(&fsm.Command{Batch: &fsm.Batch{Ends: []fsm.End{{Run: run, Module: module, State: state, Reason: reason}}}})
	}
}

// endAfter ends a run so long after its submission.
func (r *rig) endAfter(run pipeline.RunID, took time.Duration, state pipeline.RunState) {
	r.tb.Helper()
	sum, err := r.runs.RunSummary(r.tb.Context(), run)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.Apply(&fsm.Command{At: sum.SubmittedAt.Add(took), Batch: &fsm.Batch{Runs: []fsm.RunEnd{{Run: run, State: state}}}})
}

// wantKind fails unless an error has a kind and says all of parts.
func wantKind(tb testing.TB, err error, kind pipeline.Kind, parts ...string) {
	tb.Helper()
	if err == nil || pipeline.KindOf(err) != kind {
		tb.Fatalf("got %v, want kind %s", err, kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			tb.Errorf("%q does not say %q", err, part)
		}
	}
}
