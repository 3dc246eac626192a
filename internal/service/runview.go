package service

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
)

const (
	// noResult is the result of a module that gave none.
	noResult = "{}"
	// maxFailedNames is how many tests that failed a module's document names.
	maxFailedNames = 5
)

// summary is what lists show of a run. Modules that were replaced by their
// instances do not count.
func summary(r pipeline.Run) wire.RunSummary {
	var git *pipeline.Git
	if r.Git != (pipeline.Git{}) {
		git = &r.Git
	}
	var parent *pipeline.Parent
	if r.Parent.Run != "" {
		parent = &r.Parent
	}
	return wire.RunSummary{Parent: parent, ID: r.ID, Number: r.Number, Pipeline: r.Pipeline, State: r.State, Reason: r.Reason, Submitter: r.Submitter,
		SubmittedAt: r.SubmittedAt.UTC(), StartedAt: wire.TimeOf(r.StartedAt), FinishedAt: wire.TimeOf(r.FinishedAt), IdleSeconds: r.Idle.Seconds(), Workspace: r.Workspace,
		RetryOf: r.RetryOf, RetriedAs: r.RetriedAs,
		ModuleCount: r.Modules - r.Replaced, ModulesDone: r.Done - r.Replaced,
		ModulesCached: r.Cached, ModulesFailed: r.Failed + r.Warnings, ModulesRunning: r.Live, Approvals: r.Approvals, Schedule: r.Schedule, Tick: tickOf(&r), Trigger: r.Trigger, Group: r.Group,
		Git: git, Pinned: r.Pinned, ArtifactsGone: r.ArtifactsGone, LogsGone: r.LogsGone, Notices: r.Notices}
}

// tickOf is the tick of a run, as the clock of its schedule's zone shows it; nil if it
// has none.
func tickOf(r *pipeline.Run) *time.Time {
	if r.Tick.IsZero() {
		return nil
	}
	at := calendar.In(r.Tick, r.Zone)
	return &at
}

// summaryIn is summary with the reason why a run waits in its queue.
func summaryIn(v *fsm.View, r pipeline.Run) wire.RunSummary {
	out := summary(r)
	if r.State == pipeline.RunWaiting {
		if _, why := v.WaitsFor(&r); why != "" {
			out.Reason = why
		}
	}
	return out
}

// read gives a run and those of its modules that changed after the index since.
func (r *Runs) read(id pipeline.RunID, since uint64) (wire.Run, error) {
	var out wire.Run
	err := r.state.View(func(v *fsm.View) error {
		run, ok := v.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		mods, err := v.RunModules(id)
		if err != nil {
			return err
		}

		def, err := v.Definition(id)
		if err != nil {
			return err
		}

		records := v.ModulesSince(id, since)
		out = wire.Run{RunSummary: summaryIn(v, run), File: def.File, Index: run.Index, Modules: []wire.Module{}}
		if since == 0 {
			out.Variables, out.Sensitive = variablesOf(&def.Scope), def.Scope.Sensitive
		}
		var open []pipeline.Module // that have not finished
		var at []int               // where they are in out.Modules
		for i := range mods {
			m := &mods[i]
			record := records[m.Name]
			if record == nil && since > 0 {
				continue // unchanged
			}
			if record == nil {
				record = &pipeline.ModuleRecord{Name: m.Name, State: pipeline.ModuleWaiting}
			}
			out.Modules = append(out.Modules, moduleOf(m, record))
			addChildren(v, &out.Modules[len(out.Modules)-1], record)
			if since > 0 { // who asks for changes knows them
				out.Modules[len(out.Modules)-1].DependsOn = nil
			}
			if !record.State.Final() {
				open = append(open, *m)
				at = append(at, len(out.Modules)-1)
			}
		}
		for i, d := range v.Expected(run.Pipeline, open) {
			out.Modules[at[i]].ExpectedSeconds = d.Seconds()
		}
		return nil
	})
	return out, err
}

// maxVariable is how many bytes of a variable's value are shown.
const maxVariable = 256

// variablesOf are the values of the variables of a run that are not sensitive, as texts.
func variablesOf(scope *pipeline.Scope) map[string]string {
	out := make(map[string]string, len(scope.Variables))
	for name, encoded := range scope.Variables {
		var typed struct {
			Value json.RawMessage `json:"value"`
		}
		if slices.Contains(scope.Sensitive, name) || json.Unmarshal([]byte(encoded), &typed) != nil {
			continue
		}
		var text string
		if json.Unmarshal(typed.Value, &text) != nil {
			text = string(typed.Value) // a number, a list or the like
		}
		if cut := pipeline.CutText(text, maxVariable); cut != text {
			text = cut + "…"
		}
		out[name] = text
	}
	return out
}

// moduleOf is what the API shows of a module.
func moduleOf(def *pipeline.Module, record *pipeline.ModuleRecord) wire.Module {
	m := wire.Module{Name: record.Name, Of: def.Of, Line: def.Line, State: record.State, Reason: record.Reason, DependsOn: def.DependsOn, Result: record.Result,
		ExitCode: record.ExitCode, Outputs: record.OutputPaths, OutputBytes: record.OutputBytes, StartedAt: wire.TimeOf(record.StartedAt),
		FinishedAt: wire.TimeOf(record.FinishedAt), NotBefore: wire.TimeOf(record.NotBefore), Attempts: []wire.Attempt{}}
	m.Approval = approvalOf(def, record)
	if def.Child != nil {
		m.Pipeline = def.Child.Name
	}
	if record.ApprovalWait != nil && record.State == pipeline.ModuleWaiting && m.Reason == "" {
		m.Reason = pipeline.WaitsForApproval(record.ApprovalWait.Message)
	}
	if record.OutputCount > len(m.Outputs) {
		m.OutputCount = record.OutputCount
	}
	if m.Outputs == nil {
		m.Outputs = []string{}
	}
	if len(m.Result) == 0 {
		m.Result = []byte(noResult)
	}
	if !record.StartedAt.IsZero() && !record.FinishedAt.IsZero() {
		m.DurationSeconds = record.FinishedAt.Sub(record.StartedAt).Seconds()
	}
	addAttempts(&m, record)
	addTests(&m, record)
	return m
}

// addChildren adds the runs that a module made. One that has not ended has the state of
// the run.
func addChildren(v *fsm.View, m *wire.Module, record *pipeline.ModuleRecord) {
	for i := range record.Children {
		c := &record.Children[i]
		one := wire.ChildRun{Run: c.Run, Number: c.Number, State: c.State, Reason: c.Reason, StartedAt: wire.TimeOf(c.StartedAt), FinishedAt: wire.TimeOf(c.FinishedAt)}
		if c.State == "" {
			if run, ok := v.Run(c.Run); ok {
				one.State, one.Reason = run.State, run.Reason
			}
			m.Reason = c.RunsAs()
		}
		m.Children = append(m.Children, one)
	}
}

// addAttempts adds the attempts that ran. A cache hit is recorded as an attempt
// that did not: it shows as where the result came from.
func addAttempts(m *wire.Module, record *pipeline.ModuleRecord) {
	for i := range record.Attempts {
		a := &record.Attempts[i]
		if a.From != nil {
			if i == len(record.Attempts)-1 && record.State == pipeline.ModuleCached {
				m.CachedFrom = &wire.CachedFrom{Run: a.From.Run, Module: a.From.Module, Attempt: a.From.Attempt, Worker: a.WorkerName,
					DurationSeconds: record.Recorded.Seconds()}
			}
			continue
		}
		m.Worker = a.WorkerName
		m.Attempts = append(m.Attempts, wire.Attempt{Number: a.Number, Worker: a.WorkerName, State: a.State, Reason: a.Reason,
			ExitCode: a.ExitCode, AssignedAt: wire.TimeOf(a.AssignedAt), StartedAt: wire.TimeOf(a.StartedAt), FinishedAt: wire.TimeOf(a.FinishedAt),
			LogSize: a.LogSize, Image: a.Image, Replicas: a.Replicas, LocalBytes: a.LocalBytes})
	}
}

// addTests adds what a module's document has of its tests.
func addTests(m *wire.Module, record *pipeline.ModuleRecord) {
	last := record.LastTests()
	if last == nil {
		return
	}
	m.Warnings = last.Tests.Warnings
	if last.Tests.Total == 0 {
		return
	}
	m.Tests = &wire.ModuleTests{TestCounts: wire.TestCountsOf(record.TestCounts())}
	for i := range last.Tests.Failing[:min(len(last.Tests.Failing), maxFailedNames)] {
		m.Tests.FailedNames = append(m.Tests.FailedNames, last.Tests.Failing[i].Title())
	}
}
