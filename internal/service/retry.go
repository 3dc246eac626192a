package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Retry resumes a finished run: modules that did not succeed, or those that the
// request names, run again with all that depends on them. With other values of
// variables it makes a new run. The same request key again changes nothing.
func (r *Runs) Retry(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error) {
	if !r.state.Fresh(ctx) { // what is chosen here must fit the run as it is
		return wire.RunSummary{}, pipeline.ErrNoLeader
	}
	if len(in.Variables) > 0 {
		return r.retryAnew(ctx, by, id, in)
	}
	var op fsm.Retry
	var repeated *pipeline.Run
	err := r.state.View(func(v *fsm.View) error {
		run, ok := v.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		if in.Request != "" && slices.Contains(run.RetryKeys, in.Request) {
			repeated = &run
			return nil
		}
		_, names, err := selectRetry(v, &run, in.From)
		// Tries makes it compare and set: the state machine refuses it if the run was
		// retried meanwhile.
		op = fsm.Retry{Run: id, Modules: names, Tries: run.Tries, Request: in.Request}
		return err
	})
	if err != nil {
		return wire.RunSummary{}, err
	}
	if repeated != nil {
		return summary(*repeated), nil
	}

	reply, err := r.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), By: by.Name, Use: by.Use, Retry: &op})
	if err != nil {
		return wire.RunSummary{}, err
	}
	return summary(reply.Run), nil
}

// selectRetry chooses what of a finished run runs again, and names it.
func selectRetry(v *fsm.View, run *pipeline.Run, from []string) (*retrySelection, []string, error) {
	if !run.State.Final() {
		return nil, nil, pipeline.Errorf(pipeline.Conflict, "run %s has not finished: it is %s", run.ID, run.State)
	}
	def, err := v.Definition(run.ID)
	if err != nil {
		return nil, nil, err
	}
	s := newRetrySelection(def, run, v.Modules(run.ID))
	names, err := s.choose(from)
	return s, names, err
}

// retrySelection chooses the modules of a run that run again.
type retrySelection struct {
	def     *pipeline.Pipeline
	records map[string]*pipeline.ModuleRecord
	// success reports that the run succeeded: what was skipped has its own reason.
	success bool
	// anew is set if the modules run in a new run: it needs all that did not succeed.
	anew bool
	// chosen has why each module that runs again does.
	chosen map[string]string
	// index has the positions of the definition's modules.
	index map[string]int
}

func newRetrySelection(def *pipeline.Pipeline, run *pipeline.Run, records map[string]*pipeline.ModuleRecord) *retrySelection {
	success := run.State == pipeline.RunSucceeded || run.State == pipeline.RunWarnings
	s := &retrySelection{def: def, records: records, success: success, chosen: map[string]string{}, index: map[string]int{}}
	for i := range def.Modules {
		s.index[def.Modules[i].Name] = i
	}
	return s
}

// choose names the modules that run again, sorted: those that did not succeed, or
// those of from with what they need and did not get, and all that depend on either.
// A module that was expanded into instances runs again as a whole if what it depends
// on does; otherwise its instances are chosen one by one.
func (s *retrySelection) choose(from []string) ([]string, error) {
	for _, given := range from {
		if !s.addNamed(given) {
			hint := ""
			if nearest := pipeline.Nearest(given, s.names()); nearest != "" {
				hint = fmt.Sprintf(": did you mean %q?", nearest)
			}
			return nil, pipeline.Errorf(pipeline.NotFound, "the run has no module %q%s", given, hint)
		}
	}

	s.addNeeded()

	// Modules may stand before those that they depend on, so that one pass is not
	// enough: until nothing is added.
	for s.addMore(s.anew || len(from) == 0) {
	}

	// After that: what depends on these does not run again because of them.
	if s.anew || len(from) > 0 {
		s.addApprovals()
	}
	s.addHookBefore()

	names := make([]string, 0, len(s.chosen))
	for name := range s.chosen {
		base, _, instance := strings.Cut(name, "[")
		if instance && s.isChosen(base) && s.records[base] != nil && s.records[base].Expanded {
			continue // runs again with the module that it is an instance of
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// addApprovals chooses the approvals that chosen modules depend on, directly or not:
// an approval holds for one chain of attempts, and naming a module begins another.
func (s *retrySelection) addApprovals() {
	var next []string
	for i := range s.def.Modules {
		m := &s.def.Modules[i]
		if s.runsAgain(m.Name) && !m.AlwaysRun {
			next = append(next, m.Name)
		}
	}

	seen := map[string]bool{}
	for len(next) > 0 {
		m := &s.def.Modules[s.index[next[len(next)-1]]]
		next = next[:len(next)-1]
		if seen[m.Name] {
			continue
		}
		seen[m.Name] = true
		next = append(next, m.DependsOn...)

		if m.Approval == nil || m.Skip != "" {
			continue
		}
		for _, name := range append(s.instances(m.Name), m.Name) {
			if record := s.records[name]; record != nil && record.ApprovalWait != nil {
				s.add(name, "it is asked for again")
			}
		}
	}
}

// add chooses a module or an instance, and keeps the first reason.
func (s *retrySelection) add(name, why string) (added bool) {
	if s.isChosen(name) {
		return false
	}
	s.chosen[name] = why
	return true
}

func (s *retrySelection) isChosen(name string) bool { _, yes := s.chosen[name]; return yes }

// addHookBefore chooses the hook that runs before all modules, if anything runs
// again: what it prepares, the hooks at the end may have removed.
func (s *retrySelection) addHookBefore() {
	for i := range s.def.Modules {
		if m := &s.def.Modules[i]; m.Hook == pipeline.HookBefore && len(s.chosen) > 0 {
			s.add(m.Name, "it prepares what runs again")
		}
	}
}

// Why a module runs again that the request names, or that the run did not have.
const (
	namedFrom = "it is named"
	isNew     = "it is new"
)

// addNamed chooses the modules and instances that a name means. False if there
// are none.
func (s *retrySelection) addNamed(given string) (found bool) {
	for i := range s.def.Modules {
		m := &s.def.Modules[i]
		if pipeline.Selects(given, m.Name) || m.Of == given {
			s.add(m.Name, namedFrom)
			found = true
		}
		for _, instance := range s.instances(m.Name) {
			if instance == given {
				s.add(instance, namedFrom)
				found = true
			}
		}
	}
	return found
}

// addMore chooses modules that depend on chosen ones, and with failed those that
// did not succeed. It reports whether it added any.
func (s *retrySelection) addMore(failed bool) (added bool) {
	for i := range s.def.Modules {
		m := &s.def.Modules[i]
		if i := slices.IndexFunc(m.DependsOn, s.runsAgain); i >= 0 && s.add(m.Name, "it depends on "+m.DependsOn[i]) {
			added = true
		}
		if failed {
			added = s.addFailed(m) || added
		}
	}
	return added
}

// addNeeded chooses what the chosen modules need and did not get, and what that
// needs.
func (s *retrySelection) addNeeded() {
	for again := true; again; {
		again = false
		for i := range s.def.Modules {
			m := &s.def.Modules[i]
			if m.AlwaysRun || !s.runsAgain(m.Name) {
				continue // one that always runs needs no success
			}
			for _, name := range m.DependsOn {
				if j, ok := s.index[name]; ok {
					again = s.addFailed(&s.def.Modules[j]) || again
				}
			}
		}
	}
}

// addFailed chooses a module, or those of its instances, that did not succeed.
func (s *retrySelection) addFailed(m *pipeline.Module) (added bool) {
	for _, name := range append(s.instances(m.Name), m.Name) {
		if s.failed(m, name) && s.add(name, s.stateOf(name)) {
			added = true
		}
	}
	return added
}

// stateOf says how a module that did not succeed ended.
func (s *retrySelection) stateOf(name string) string {
	switch record := s.records[name]; {
	case record == nil:
		return isNew
	case record.State == pipeline.ModuleFailed:
		return "it failed"
	default:
		return "it was " + pipeline.Words(record.State)
	}
}

// failed reports whether a module, or an instance of it, did not succeed and may
// do so now. A module whose condition is false, and a hook for another end of the
// run, would be skipped again.
func (s *retrySelection) failed(m *pipeline.Module, name string) bool {
	record := s.records[name]
	switch {
	case record == nil:
		return true
	case record.State != pipeline.ModuleSkipped:
		return !record.State.Success()
	}
	return !s.success && m.Skip == "" && m.Hook == ""
}

// runsAgain reports whether a module or one of its instances is chosen.
func (s *retrySelection) runsAgain(name string) bool {
	return s.isChosen(name) || slices.ContainsFunc(s.instances(name), s.isChosen)
}

// instances names the instances that a module was expanded into.
func (s *retrySelection) instances(name string) []string {
	record := s.records[name]
	if record == nil {
		return nil
	}

	names := make([]string, len(record.Instances))
	for i, instance := range record.Instances {
		names[i] = pipeline.InstanceName(name, instance.Key)
	}
	return names
}

// names lists what a module of the run can be called by.
func (s *retrySelection) names() []string {
	var names []string
	for i := range s.def.Modules {
		name := s.def.Modules[i].Name
		names = append(append(names, name), s.instances(name)...)
	}
	return names
}
