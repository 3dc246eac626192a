package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxDependencies and maxWorkers bound what one fact lists by name.
	maxDependencies = 8
	maxWorkers      = 8
)

// Why explains the state of a module of a run, or with "" of all modules.
func (r *Runs) Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	run, err := r.read(id, 0)
	if err != nil {
		return wire.Why{}, err
	}
	r.explainWaiting(ctx, &run)

	var mods []pipeline.Module
	err = r.state.View(func(v *fsm.View) (err error) { mods, err = v.RunModules(id); return err })
	if err != nil {
		return wire.Why{}, err
	}
	defs := map[string]*pipeline.Module{}
	for i := range mods {
		defs[mods[i].Name] = &mods[i]
	}

	out := wire.Why{Run: run.RunSummary, Because: run.RetryFacts(), Module: []wire.WhyModule{}}
	for i := range run.Modules {
		m := &run.Modules[i]
		if module != "" && m.Of != module && !pipeline.Selects(module, m.Name) {
			continue
		}
		facts := append(moduleFacts(&run, m), r.childWaits(m)...)
		if fact := r.placementFact(ctx, defs[m.Name], m); fact != "" {
			facts = append(facts, fact)
		}
		facts = append(facts, r.cacheFacts(id, m.Name)...)
		out.Module = append(out.Module, wire.WhyModule{Name: m.Name, State: m.State, Because: facts})
	}
	if module != "" && len(out.Module) == 0 {
		return out, pipeline.NoModule(id, module, mods)
	}
	return out, nil
}

// moduleFacts says what is known of why a module is in its state.
func moduleFacts(run *wire.Run, m *wire.Module) []string {
	facts := []string{}
	if len(m.DependsOn) > 0 {
		facts = append(facts, dependencyFact(run, m))
	}
	for i := range m.Attempts {
		facts = append(facts, attemptFact(&m.Attempts[i]))
	}
	for i := range m.Children {
		facts = append(facts, childFact(m, &m.Children[i]))
	}

	switch {
	case m.Reason != "":
		facts = append(facts, fmt.Sprintf("%s: %s", m.State, m.Reason))
	case m.State == pipeline.ModuleWaiting:
		facts = append(facts, "waiting: it has not been placed yet")
	case len(facts) == 0:
		facts = append(facts, string(m.State))
	}
	return facts
}

func dependencyFact(run *wire.Run, m *wire.Module) string {
	states := map[string]pipeline.ModuleState{}
	for i := range run.Modules {
		states[run.Modules[i].Name] = run.Modules[i].State
	}

	var parts []string
	for i, name := range m.DependsOn {
		if i == maxDependencies {
			parts = append(parts, fmt.Sprintf("and %d more", len(m.DependsOn)-i))
			break
		}
		state := states[name]
		if state == "" {
			state = pipeline.ModuleSucceeded // it was expanded into instances
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", name, state))
	}
	return "it depends on " + strings.Join(parts, ", ")
}

// childWaits says whether the pipeline that a module runs waits for its turn, or for people.
func (r *Runs) childWaits(m *wire.Module) (facts []string) {
	c := m.Child()
	if c == nil || c.State.Final() {
		return nil
	}
	run, err := r.read(c.Run, 0)
	if err != nil {
		return nil // it was deleted meanwhile
	}
	if run.State == pipeline.RunWaiting && run.Reason != "" {
		facts = append(facts, fmt.Sprintf("run %d %s", c.Number, run.Reason))
	}
	for i := range run.Modules {
		if one := &run.Modules[i]; one.State == pipeline.ModuleWaiting && one.Approval != nil && one.Approval.Since != nil && len(facts) < maxDependencies {
			facts = append(facts, fmt.Sprintf("%s of run %d %s", one.Name, c.Number, one.Reason))
		}
	}
	return facts
}

func childFact(m *wire.Module, c *wire.ChildRun) string {
	text := fmt.Sprintf("its pipeline %s is run %d (%s), which ", m.Pipeline, c.Number, c.Run)
	if c.State.Final() {
		text += "has " + pipeline.Words(c.State)
		if c.State == pipeline.RunCancelled {
			text = strings.TrimSuffix(text, "has cancelled") + "was cancelled"
		}
	} else {
		text += "is " + pipeline.Words(c.State)
	}
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	return text
}

func attemptFact(a *wire.Attempt) string {
	var text string
	switch {
	case a.StartedAt == nil && a.State == pipeline.AttemptCancelled:
		text = fmt.Sprintf("attempt %d was queued on %s and given back unstarted", a.Number, a.Worker)
	case !a.State.Final():
		text = fmt.Sprintf("attempt %d is %s on %s", a.Number, a.State, a.Worker)
	case a.State == pipeline.AttemptFailed || a.State == pipeline.AttemptSucceeded:
		text = fmt.Sprintf("attempt %d %s on %s", a.Number, a.State, a.Worker)
	default:
		text = fmt.Sprintf("attempt %d ran on %s and was %s", a.Number, a.Worker, pipeline.Words(a.State))
	}
	if a.LocalBytes > 0 {
		text += fmt.Sprintf(" (which had %s more of its inputs than a worker with less to do)", pipeline.FormatBytes(a.LocalBytes))
	}
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	return text
}

// placementFact says why a module ran where it did: which workers could have run
// it, and what decided between them. It is "" if the module did not run, or if
// its worker has left.
func (r *Runs) placementFact(ctx context.Context, def *pipeline.Module, m *wire.Module) string {
	if def == nil || len(m.Attempts) == 0 {
		return ""
	}
	last := m.Last()
	able, of, err := r.planner.Able(ctx, def)
	if err != nil || !slices.Contains(able, last.Worker) {
		return ""
	}

	requires := orchestrator.Needs(def)
	rule := "the least busy was chosen"
	if last.LocalBytes > 0 {
		rule = "the one that has its inputs was chosen"
	}
	switch {
	case of == 1:
		return ""
	case len(able) == 1:
		return fmt.Sprintf("%s is the only one of %d workers that has %s", last.Worker, of, requires)
	case requires == "":
		return fmt.Sprintf("any of %d workers can run it; %s", of, rule)
	case len(able) > maxWorkers:
		return fmt.Sprintf("%d of %d workers have %s; %s", len(able), of, requires, rule)
	}
	return fmt.Sprintf("%s of %d workers have %s; %s", strings.Join(able, ", "), of, requires, rule)
}

// cacheFacts says which cached result a module used, or why none, and whether
// its own result is cached.
func (r *Runs) cacheFacts(id pipeline.RunID, module string) []string {
	var facts []string
	_ = r.state.View(func(v *fsm.View) error { // if it is closed there is nothing to say
		record := v.Module(id, module)
		last := record.Last()
		switch {
		case last == nil:
			return nil
		case last.From != nil && last.Cache == nil:
			facts = append(facts, fmt.Sprintf("taken over: attempt %d of %s in run %s did the same work, in %s", last.From.Attempt, last.From.Module,
				last.From.Run, record.Recorded.Round(time.Millisecond)))
			return nil
		case last.From != nil:
			facts = append(facts, fmt.Sprintf("cache hit: attempt %d of %s in run %s did the same work, in %s", last.From.Attempt, last.From.Module,
				last.From.Run, record.Recorded.Round(time.Millisecond)))
			return nil
		case last.Cache == nil:
			return nil
		}

		for _, why := range last.Cache.Missed {
			facts = append(facts, "cache miss: "+why)
		}
		entry, ok := v.CacheEntry(last.Cache.Key)
		if ok && entry.From == (pipeline.AttemptID{Run: id, Module: module, Attempt: last.Number}) {
			facts = append(facts, "its result is cached")
		}
		return nil
	})
	return facts
}
