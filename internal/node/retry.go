package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
)

// Retry makes a run that is over go on.
func (b *backend) Retry(ctx context.Context, _ api.Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error) {
	n := b.node()
	var op fsm.Retry
	var done *pipeline.Run
	err := n.store.View(func(v *fsm.View) error {
		r, ok := v.Run(id)
		if !ok {
			return noRun(id)
		}
		if in.Request != "" && slices.Contains(r.RetryKeys, in.Request) {
			done = &r
			return nil
		}
		if !r.State.Final() {
			return pipeline.Errorf(pipeline.Conflict, "run %s is not over: it is %s", id, r.State)
		}
		def, err := v.Definition(id)
		if err != nil {
			return err
		}
		names, err := retryOf(def, v.Modules(id), in.From)
		op = fsm.Retry{Run: id, Modules: names, Tries: r.Tries, Request: in.Request}
		return err
	})
	if err != nil {
		return wire.RunSummary{}, err
	}
	if done != nil {
		return summary(*done), nil
	}
	res, err := n.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Retry: &op})
	if err != nil {
		return wire.RunSummary{}, err
	}
	return summary(res.Run), nil
}

// retryOf names the modules that are to run again: those that did not succeed,
// or those of from, and all that depends on either. A module that became
// instances runs again as a whole where what it depends on does; else its
// instances are taken one by one.
func retryOf(def *pipeline.Pipeline, recs map[string]*pipeline.ModuleRecord, from []string) ([]string, error) {
	again := map[string]bool{}
	for _, given := range from {
		found := false
		for i := range def.Modules {
			m := &def.Modules[i]
			if pipeline.Selects(given, m.Name) || m.Of == given {
				again[m.Name], found = true, true
			}
			if rec := recs[m.Name]; rec != nil {
				for _, x := range rec.Instances {
					if name := pipeline.InstanceName(m.Name, x.Key); name == given {
						again[name], found = true, true
					}
				}
			}
		}
		if !found {
			hint := ""
			if near := pipeline.Nearest(given, namesIn(def, recs)); near != "" {
				hint = fmt.Sprintf(": did you mean %q?", near)
			}
			return nil, pipeline.Errorf(pipeline.NotFound, "the run has no module %q%s", given, hint)
		}
	}
	broken := func(name string) bool {
		rec := recs[name]
		return rec == nil || !rec.State.Success()
	}
	// A module stands behind all that it depends on only in the graph: go on
	// until nothing is added.
	for changed := true; changed; {
		changed = false
		for i := range def.Modules {
			m := &def.Modules[i]
			if again[m.Name] {
				continue
			}
			if len(from) == 0 && broken(m.Name) || slices.ContainsFunc(m.DependsOn, func(d string) bool { return again[d] || anyInstance(again, recs, d) }) {
				again[m.Name], changed = true, true
			}
		}
		for i := range def.Modules {
			m := &def.Modules[i]
			rec := recs[m.Name]
			if rec == nil || again[m.Name] {
				continue
			}
			for _, x := range rec.Instances {
				if name := pipeline.InstanceName(m.Name, x.Key); len(from) == 0 && broken(name) && !again[name] {
					again[name], changed = true, true
				}
			}
		}
	}
	names := make([]string, 0, len(again))
	for name := range again {
		if base, _, ok := strings.Cut(name, "["); ok && again[base] && recs[base] != nil && recs[base].Expanded {
			continue // goes with the module that it is of
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// namesIn are the names that a module of a run can be called by.
func namesIn(def *pipeline.Pipeline, recs map[string]*pipeline.ModuleRecord) []string {
	var names []string
	for i := range def.Modules {
		m := &def.Modules[i]
		names = append(names, m.Name)
		if rec := recs[m.Name]; rec != nil {
			for _, x := range rec.Instances {
				names = append(names, pipeline.InstanceName(m.Name, x.Key))
			}
		}
	}
	return names
}

// anyInstance reports whether an instance of a module runs again.
func anyInstance(again map[string]bool, recs map[string]*pipeline.ModuleRecord, name string) bool {
	rec := recs[name]
	return rec != nil && slices.ContainsFunc(rec.Instances, func(x pipeline.Instance) bool { return again[pipeline.InstanceName(name, x.Key)] })
}

// Locks lists the keys of not_in_parallel that are held or waited for.
func (b *backend) Locks(ctx context.Context) (wire.LockList, error) {
	list, err := b.node().orch.Locks(ctx)
	return wire.LockList{Locks: append([]wire.Lock{}, list...)}, err
}

// Why explains a run, or one module of it.
func (b *backend) Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	n := b.node()
	run, err := n.readRun(id, 0)
	if err != nil {
		return wire.Why{}, err
	}
	n.explainWaiting(ctx, &run)
	defs := map[string]*pipeline.Module{}
	err = n.store.View(func(v *fsm.View) error {
		mods, err := v.RunModules(id)
		for i := range mods {
			defs[mods[i].Name] = &mods[i]
		}
		return err
	})
	if err != nil {
		return wire.Why{}, err
	}
	out := wire.Why{Run: run.RunSummary, Module: []wire.WhyModule{}}
	for i := range run.Modules {
		m := &run.Modules[i]
		if module != "" && m.Of != module && !pipeline.Selects(module, m.Name) {
			continue
		}
		facts := because(&run, m)
		if fact := n.whyThere(ctx, defs[m.Name], m); fact != "" {
			facts = append(facts, fact)
		}
		out.Module = append(out.Module, wire.WhyModule{Name: m.Name, State: m.State, Because: append(facts, n.cacheFacts(id, m.Name)...)})
	}
	if module != "" && len(out.Module) == 0 {
		return out, n.store.View(func(v *fsm.View) error {
			mods, err := v.RunModules(id)
			if err != nil {
				return err
			}
			return noModule(id, module, mods)
		})
	}
	return out, nil
}

// whyThere says why a module ran where it did: who could have taken it, and
// what decides among them. "" where it did not run, or the worker is not here
// any more.
func (n *Node) whyThere(ctx context.Context, def *pipeline.Module, m *wire.Module) string {
	if def == nil || len(m.Attempts) == 0 {
		return ""
	}
	last := &m.Attempts[len(m.Attempts)-1]
	able, of, err := n.orch.Able(ctx, def)
	if err != nil || !slices.Contains(able, last.Worker) {
		return ""
	}
	asks := orchestrator.Needs(def)
	rule := "of these the least busy one takes it"
	if last.LocalBytes > 0 {
		rule = "of these it is the one that has its inputs"
	}
	switch {
	case of == 1:
		return ""
	case len(able) == 1:
		return fmt.Sprintf("%s is the only one of %d workers that has %s", last.Worker, of, asks)
	case asks == "":
		return fmt.Sprintf("it asks for nothing special, so each of %d workers can take it: %s", of, rule)
	case len(able) > 8:
		return fmt.Sprintf("%d of %d workers have %s: %s", len(able), of, asks, rule)
	}
	return fmt.Sprintf("%s of %d workers have %s: %s", strings.Join(able, ", "), of, asks, rule)
}

// because says what is known of why a module is where it is.
func because(run *wire.Run, m *wire.Module) []string {
	facts := []string{}
	say := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	if len(m.DependsOn) > 0 {
		states := map[string]pipeline.ModuleState{}
		for i := range run.Modules {
			states[run.Modules[i].Name] = run.Modules[i].State
		}
		var parts []string
		for i, d := range m.DependsOn {
			if i == 8 {
				parts = append(parts, fmt.Sprintf("and %d more", len(m.DependsOn)-i))
				break
			}
			state := states[d]
			if state == "" {
				state = pipeline.ModuleSucceeded // became instances
			}
			parts = append(parts, fmt.Sprintf("%s (%s)", d, state))
		}
		say("it depends on %s", strings.Join(parts, ", "))
	}
	for i := range m.Attempts {
		a := &m.Attempts[i]
		text := fmt.Sprintf("attempt %d ran on %s", a.Number, a.Worker)
		switch {
		case a.StartedAt == nil && a.State == pipeline.AttemptCancelled:
			text = fmt.Sprintf("attempt %d was queued on %s and given back unstarted", a.Number, a.Worker)
		case !a.State.Final():
			text = fmt.Sprintf("attempt %d is %s on %s", a.Number, a.State, a.Worker)
		default:
			text += " and was " + strings.ReplaceAll(string(a.State), "_", " ")
			if a.State == pipeline.AttemptFailed || a.State == pipeline.AttemptSucceeded {
				text = fmt.Sprintf("attempt %d %s on %s", a.Number, a.State, a.Worker)
			}
		}
		if a.LocalBytes > 0 {
			text += fmt.Sprintf(" (which had %s more of its inputs than a worker with less to do)", pipeline.FormatBytes(a.LocalBytes))
		}
		if a.Reason != "" {
			text += ": " + a.Reason
		}
		say("%s", text)
	}
	switch {
	case m.Reason != "":
		say("%s: %s", m.State, m.Reason)
	case m.State == pipeline.ModuleWaiting:
		say("waiting: it has not been placed yet")
	case len(facts) == 0:
		say("%s", m.State)
	}
	return facts
}
