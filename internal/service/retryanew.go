package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// A run is retried with other values of variables as a new run (docs/adr/0018): of the
// same source, files, facts of git and selection. Modules whose work is the same as
// before, and all of whose dependencies are taken over, have the results of the old run.

// retryDraft is a new run that retries another one with other values.
type retryDraft struct {
	old pipeline.Run
	run pipeline.Run
	def *pipeline.Pipeline
	// selection has chosen what runs again; take are the modules whose results are
	// taken over.
	selection *retrySelection
	take      []string
	// works reports whether anything runs again but commands of notifications.
	works bool
}

// retryAnew makes a run that retries another one with other values of variables.
func (r *Runs) retryAnew(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RunSummary, error) {
	key := ""
	if in.Request != "" {
		key = "retry:" + string(id) + ":" + in.Request
		if made, ok := r.byKey(key); ok {
			return summary(made), nil
		}
	}

	d, err := r.draftRetry(ctx, by, id, &in)
	if err != nil {
		return wire.RunSummary{}, err
	}
	if !d.works {
		return wire.RunSummary{}, pipeline.Errorf(pipeline.Conflict, "run %s has nothing to retry: every module succeeded, and none does other work with these values", id)
	}
	if d.run.Holders, err = r.workspaces.Secure(ctx, d.old.Workspace); err != nil {
		if pipeline.KindOf(err) == pipeline.Invalid {
			err = pipeline.FilesGone(id)
		}
		return wire.RunSummary{}, err
	}
	request, err := json.Marshal(in)
	if err != nil {
		return wire.RunSummary{}, fmt.Errorf("encode request: %w", err)
	}

	d.run.Key = key
	made, err := r.commit(ctx, by, d.def, fsm.Submit{Run: d.run, Take: d.take, Tries: d.old.Tries}, request)
	return summary(made), err
}

// byKey finds the run that a key has made.
func (r *Runs) byKey(key string) (run pipeline.Run, ok bool) {
	err := r.state.View(func(v *fsm.View) error {
		run, ok = v.RunByKey(key)
		return nil
	})
	return run, ok && err == nil
}

// draftRetry compiles the pipeline of a finished run with other values, and chooses
// what runs again.
func (r *Runs) draftRetry(ctx context.Context, by api.Subject, id pipeline.RunID, in *wire.RetryRequest) (*retryDraft, error) {
	d := &retryDraft{}
	var was *pipeline.Pipeline
	var records map[string]*pipeline.ModuleRecord
	err := r.state.View(func(v *fsm.View) (err error) {
		var ok bool
		if d.old, ok = v.Run(id); !ok {
			return pipeline.NoRun(id)
		}
		was, err = v.Definition(id)
		records = v.Modules(id)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !d.old.State.Final():
		return nil, pipeline.Errorf(pipeline.Conflict, "run %s has not finished: it is %s", id, d.old.State)
	case d.old.ArtifactsGone:
		return nil, pipeline.FilesGone(id)
	}

	given, err := r.vault.openGiven(was)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Internal, "%w", err)
	}
	if given.Source == "" {
		return nil, pipeline.Errorf(pipeline.Conflict, "run %s cannot be retried with other variables: its source is not kept (one of up to %d KiB is, if the run was submitted): submit it again", id, pipeline.MaxGivenSource>>10)
	}
	submission, err := resubmission(was, &given, in)
	if err != nil {
		return nil, err
	}
	d.run = pipeline.Run{ID: NewRunID(), Workspace: d.old.Workspace, Cache: d.old.Cache, Git: d.old.Git}
	compiledFor := d.run.ID
	if !d.old.Tick.IsZero() {
		compiledFor = "" // as its schedule was: run.tick is known later
	}
	if d.def, err = r.compiler.compile(ctx, by, compiledFor, submission); err != nil {
		return nil, err
	}

	open := *was
	if open.Scope, err = r.vault.openScope(was); err != nil {
		return nil, pipeline.Errorf(pipeline.Internal, "%w", err)
	}
	d.run.RetryOf = &pipeline.RetryOf{RunLink: pipeline.RunLink{ID: id, Number: d.old.Number}, Variables: differing(&open.Scope, &d.def.Scope)}
	return d, d.choose(&open, records, in.From)
}

// resubmission is what makes the same run with other values. Sensitive variables and
// credentials have to be given again: with other values next to them, a command could
// show to one user what another one gave.
func resubmission(was *pipeline.Pipeline, given *pipeline.Given, in *wire.RetryRequest) (wire.SubmitRequest, error) {
	out := wire.SubmitRequest{Source: given.Source, FileName: was.File, Imports: given.Imports, Targets: given.Targets, Tags: given.Tags, Skip: given.Skip,
		Variables: map[string]string{}, Env: map[string]string{}}
	if was.Scope.Git != (pipeline.Git{}) {
		out.Git = &was.Scope.Git
	}
	maps.Copy(out.Variables, given.Variables)
	maps.Copy(out.Variables, in.Variables)
	maps.Copy(out.Env, given.Env)

	var missing []string
	for _, name := range given.Sensitive {
		if _, ok := in.Variables[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return out, pipeline.Errorf(pipeline.Invalid, "the values of sensitive variables are not taken over: give %s again, in a file (-var-file)", strings.Join(missing, ", "))
	}

	credentials := language.Credentials(&was.Scope)
	for _, name := range credentials {
		value, ok := in.Env[name]
		if !ok {
			missing = append(missing, name)
		}
		out.Env[name] = value
	}
	if len(missing) > 0 {
		return out, pipeline.Errorf(pipeline.Invalid, "the values of credentials are not taken over: set %s in the environment again (env_from)", strings.Join(missing, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(in.Env)) {
		if !slices.Contains(credentials, name) {
			return out, pipeline.Errorf(pipeline.Invalid, "env %.80q: only credentials that env_from took can be given again", name)
		}
	}
	return out, nil
}

// differing names the variables whose values differ, sorted.
func differing(was, now *pipeline.Scope) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(now.Variables)) {
		if was.Variables[name] != now.Variables[name] {
			names = append(names, name)
		}
	}
	return names
}

// choose chooses what runs again and what is taken over.
func (d *retryDraft) choose(was *pipeline.Pipeline, records map[string]*pipeline.ModuleRecord, from []string) error {
	s := newRetrySelection(d.def, &d.old, records)
	s.anew = true
	for i := range d.def.Modules {
		name := d.def.Modules[i].Name
		if d.def.Modules[i].Hook.Notifies() {
			continue
		}
		if records[name] == nil {
			s.add(name, isNew)
		} else if changed := language.Changed(was, d.def, name); len(changed) > 0 {
			s.add(name, "changed: "+strings.Join(changed, ", "))
		}
	}
	d.selection = s
	if _, err := s.choose(from); err != nil {
		return err
	}
	for i := range d.def.Modules {
		m := &d.def.Modules[i]
		d.works = d.works || s.isChosen(m.Name) && !m.Hook.Notifies() || slices.ContainsFunc(s.instances(m.Name), s.isChosen)
	}
	for i := range d.def.Modules {
		if m := &d.def.Modules[i]; d.works && m.Hook.Notifies() {
			s.add(m.Name, "it notifies of the new run")
		}
	}

	for i := range d.def.Modules {
		name := d.def.Modules[i].Name
		if s.isChosen(name) || records[name] == nil {
			continue
		}
		for _, one := range append(s.instances(name), name) {
			if record := records[one]; !s.isChosen(one) && record != nil && record.State.Success() {
				d.take = append(d.take, one)
			}
		}
	}
	return nil
}

// PlanRetry says which modules a retry would run again, and why.
func (r *Runs) PlanRetry(ctx context.Context, by api.Subject, id pipeline.RunID, in wire.RetryRequest) (wire.RetryPlan, error) {
	if !r.state.Fresh(ctx) {
		return wire.RetryPlan{}, pipeline.ErrNoLeader
	}
	if len(in.Variables) > 0 {
		d, err := r.draftRetry(ctx, by, id, &in)
		if err != nil {
			return wire.RetryPlan{}, err
		}
		return d.selection.plan(), nil
	}

	out := wire.RetryPlan{}
	err := r.state.View(func(v *fsm.View) error {
		run, ok := v.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		s, _, err := selectRetry(v, &run, in.From)
		if err == nil {
			out = s.plan()
		}
		return err
	})
	return out, err
}

// plan lists the modules of the run, in the order of the source.
func (s *retrySelection) plan() wire.RetryPlan {
	out := wire.RetryPlan{Modules: []wire.RetryModule{}}
	for i := range s.def.Modules {
		m := &s.def.Modules[i]
		names := []string{m.Name}
		if instances := s.instances(m.Name); len(instances) > 0 && !s.isChosen(m.Name) {
			names = instances
		}
		for _, name := range names {
			why, again := s.chosen[name]
			out.Modules = append(out.Modules, wire.RetryModule{Name: name, Again: again, Because: why})
		}
	}
	return out
}
