package service

import (
	"context"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// PrepareChild compiles the pipeline that a module runs, for the orchestrator. An error
// that is not Unavailable is for the module's author.
func (v *Vault) PrepareChild(ctx context.Context, parent pipeline.Run, def *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (pipeline.Run, []byte, error) {
	var values map[string]string
	if e != nil {
		values = e.Variables
	}
	def, err := v.openChildren(def)
	if err != nil {
		return pipeline.Run{}, nil, pipeline.Errorf(pipeline.Invalid, "%w", err)
	}
	id := NewRunID()
	child, err := language.CompileChild(ctx, def, m, values, language.Inputs{Git: def.Scope.Git, RunID: string(id), Submitter: def.Scope.Submitter,
		Evaluator: evaluatorFor(v.evaluators, def.Scope.Submitter)})
	if err != nil {
		return pipeline.Run{}, nil, err
	}
	raw, err := v.encodeDefinition(child)
	if err != nil {
		return pipeline.Run{}, nil, err
	}

	run := pipeline.Run{ID: id, Pipeline: child.Name, Modules: len(child.Modules), Notify: child.NotifyTargets()}
	if c := child.Concurrency; c != nil {
		run.Group, run.Cancels = c.Group, c.CancelInProgress
	}
	return run, raw, v.checkGroup(parent, run.Group)
}

// checkGroup refuses a child in the concurrency group of a run that waits for it: it
// could never start.
func (v *Vault) checkGroup(parent pipeline.Run, group string) error {
	if group == "" {
		return nil
	}
	return v.secrets.state.View(func(view *fsm.View) error {
		for r, ok := parent, true; ok; r, ok = view.Run(r.Parent.Run) {
			if r.Group == group {
				return pipeline.Errorf(pipeline.Invalid, "its concurrency group %q is that of run %d, which waits for it: give one of them another group", group, r.Number)
			}
			if r.Parent.Run == "" {
				break
			}
		}
		return nil
	})
}
