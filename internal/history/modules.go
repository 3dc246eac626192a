package history

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxHistoryRecords bounds the records of modules that are read for one history: of a
	// large pipeline, fewer runs give the figures of its modules.
	maxHistoryRecords = 20_000
	// maxHistoryModules bounds the modules in the answer.
	maxHistoryModules = 500
)

// PipelineHistory reads the newest runs of a pipeline and its modules over them.
func (h *History) PipelineHistory(_ context.Context, name string, newest int) (wire.PipelineHistory, error) {
	out := wire.PipelineHistory{Modules: []wire.ModuleHistory{}}
	err := h.cfg.State.View(func(v *fsm.View) error {
		p := pipelineRuns{name: name}
		v.Runs(0, func(r pipeline.Run) bool {
			if r.Pipeline == name {
				p.add(r, newest)
			}
			return true
		})
		if rec, ok := v.Schedule(name); ok {
			p.schedule = &rec
		}
		if p.count == 0 && p.schedule == nil {
			return noPipeline(v, name)
		}

		out.PipelineSummary = h.summaryOf(&p, newest)
		out.Modules, out.Tests = modulesOver(v, p.newest)
		return nil
	})
	return out, err
}

// moduleRuns collects the runs of one module.
type moduleRuns struct {
	wire.ModuleHistory
	took []time.Duration // of the runs in which it succeeded by itself, newest first
}

// modulesOver gives the modules of runs, what takes most of the time first, and their
// tests.
func modulesOver(v *fsm.View, runs []pipeline.Run) ([]wire.ModuleHistory, *wire.PipelineTests) {
	byName, tests := map[string]*moduleRuns{}, newTestRuns()
	records := 0
	for i := range runs {
		list := v.Modules(runs[i].ID)
		if records += len(list); records > maxHistoryRecords && i > 0 {
			runs = runs[:i]
			break
		}
		for name, record := range list {
			if len(record.Instances) > 0 {
				continue // its instances count
			}
			m := byName[name]
			if m == nil {
				m = &moduleRuns{ModuleHistory: wire.ModuleHistory{Name: name, Seconds: make([]*float64, len(runs)), States: make([]pipeline.ModuleState, len(runs))}}
				m.Of, _, _ = strings.Cut(name, "[")
				if m.Of == name {
					m.Of = ""
				}
				byName[name] = m
			}
			m.add(&runs[i], i, record)
			tests.add(&runs[i], record)
		}
	}

	all := make([]*moduleRuns, 0, len(byName))
	for _, m := range byName {
		m.figures(len(runs))
		all = append(all, m)
	}
	byCost := func(a, b *moduleRuns) int {
		return cmp.Or(cmp.Compare(b.cost(), a.cost()), strings.Compare(a.Name, b.Name))
	}
	if len(all) > maxHistoryModules { // those that failed are never left out for others
		slices.SortFunc(all, func(a, b *moduleRuns) int {
			return cmp.Or(cmp.Compare(b.Failed+b.Flaky, a.Failed+a.Flaky), byCost(a, b))
		})
		all = all[:maxHistoryModules]
	}
	slices.SortFunc(all, byCost)
	out := make([]wire.ModuleHistory, 0, len(all))
	for _, m := range all {
		out = append(out, m.ModuleHistory)
	}
	return out, tests.document()
}

// add adds how the module ended in the run at a position.
func (m *moduleRuns) add(r *pipeline.Run, at int, record *pipeline.ModuleRecord) {
	m.States[at] = record.State
	switch record.State {
	case pipeline.ModuleCached:
		m.Runs++
		m.Cached++
	case pipeline.ModuleSucceeded:
		m.Runs++
		took := max(0, record.FinishedAt.Sub(record.StartedAt))
		if record.ApprovalWait == nil { // how long people take says nothing of the module
			m.took = append(m.took, took)
		}
		m.Seconds[at] = seconds(took)
		if a := record.FailedBefore(); a != nil {
			m.Flaky++
			if m.LastFlaky == nil {
				m.LastFlaky = failedAttempt(r, a, a.Reason)
			}
		}
	case pipeline.ModuleFailed:
		m.Runs++
		m.Failed++
		if !record.StartedAt.IsZero() {
			m.Seconds[at] = seconds(max(0, record.FinishedAt.Sub(record.StartedAt)))
		}
		if m.LastFailed == nil {
			last := record.Last()
			if last == nil {
				last = &pipeline.Attempt{}
			}
			m.LastFailed = failedAttempt(r, last, record.Reason)
		}
	}
}

func failedAttempt(r *pipeline.Run, a *pipeline.Attempt, reason string) *wire.FailedAttempt {
	return &wire.FailedAttempt{Run: r.ID, Number: r.Number, Attempt: a.Number, Reason: reason}
}

// figures computes what follows from the runs, of which runs were looked at.
func (m *moduleRuns) figures(runs int) {
	m.Seconds, m.States = m.Seconds[:runs], m.States[:runs]
	m.FailureRate, m.CacheRate, m.FlakyRate = rate(m.Failed, m.Runs), rate(m.Cached, m.Runs-m.Failed), rate(m.Flaky, m.Runs-m.Cached)
	m.P50Seconds, m.P95Seconds, m.Trend = percentile(m.took, 50), percentile(m.took, 95), trend(m.took)
}

// cost is the time that all runs of the module took.
func (m *moduleRuns) cost() (all time.Duration) {
	for _, d := range m.took {
		all += d
	}
	return all
}
