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
// request names, run again with all that depends on them. The same request key
// again changes nothing.
func (r *Runs) Retry(ctx context.Context, _ api.Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error) {
	if !r.state.Fresh(ctx) { // what is chosen here must fit the run as it is
		return wire.RunSummary{}, pipeline.ErrNoLeader
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
		if !run.State.Final() {
			return pipeline.Errorf(pipeline.Conflict, "run %s has not finished: it is %s", id, run.State)
		}
		def, err := v.Definition(id)
		if err != nil {
			return err
		}
		names, err := newRetrySelection(def, v.Modules(id)).choose(in.From)
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

	reply, err := r.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Retry: &op})
	if err != nil {
		return wire.RunSummary{}, err
	}
	return summary(reply.Run), nil
}

// retrySelection chooses the modules of a run that run again.
type retrySelection struct {
	def     *pipeline.Pipeline
	records map[string]*pipeline.ModuleRecord
	chosen  map[string]bool
}

func newRetrySelection(def *pipeline.Pipeline, records map[string]*pipeline.ModuleRecord) *retrySelection {
	return &retrySelection{def: def, records: records, chosen: map[string]bool{}}
}

// choose names the modules that run again, sorted: those that did not succeed,
// or those of from, and all that depend on either. A module that was expanded
// into instances runs again as a whole if what it depends on does; otherwise its
// instances are chosen one by one.
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

	// Modules may stand before those that they depend on, so that one pass is not
	// enough: until nothing is added.
	for s.addMore(len(from) == 0) {
	}

	names := make([]string, 0, len(s.chosen))
	for name := range s.chosen {
		base, _, instance := strings.Cut(name, "[")
		if instance && s.chosen[base] && s.records[base] != nil && s.records[base].Expanded {
			continue // runs again with the module that it is an instance of
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// addNamed chooses the modules and instances that a name means. False if there
// are none.
func (s *retrySelection) addNamed(given string) (found bool) {
	for i := range s.def.Modules {
		m := &s.def.Modules[i]
		if pipeline.Selects(given, m.Name) || m.Of == given {
			s.chosen[m.Name], found = true, true
		}
		for _, instance := range s.instances(m.Name) {
			if instance == given {
				s.chosen[instance], found = true, true
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
		if s.chosen[m.Name] {
			continue
		}
		if failed && s.failed(m.Name) || slices.ContainsFunc(m.DependsOn, s.runsAgain) {
			s.chosen[m.Name], added = true, true
			continue
		}
		for _, instance := range s.instances(m.Name) {
			if failed && s.failed(instance) && !s.chosen[instance] {
				s.chosen[instance], added = true, true
			}
		}
	}
	return added
}

func (s *retrySelection) failed(name string) bool {
	record := s.records[name]
	return record == nil || !record.State.Success()
}

// runsAgain reports whether a module or one of its instances is chosen.
func (s *retrySelection) runsAgain(name string) bool {
	return s.chosen[name] || slices.ContainsFunc(s.instances(name), func(instance string) bool { return s.chosen[instance] })
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
