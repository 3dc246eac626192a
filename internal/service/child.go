package service

import (
	"context"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// ChildrenConfig is what Children needs.
type ChildrenConfig struct {
	State    *state.State
	Compiler *Compiler
	Vault    *Vault
	// NoWebhooks runs send no notifications to webhooks: this node has none.
	NoWebhooks bool
}

// Children compiles the pipelines that modules run.
type Children struct{ cfg ChildrenConfig }

// NewChildren makes a Children.
func NewChildren(cfg ChildrenConfig) *Children { return &Children{cfg: cfg} }

// Prepare compiles the pipeline that a module runs: an orchestrator.PrepareChild. An error
// that is not Unavailable is for the module's author.
func (c *Children) Prepare(ctx context.Context, parent pipeline.Run, def *pipeline.Pipeline, m *pipeline.Module, e *pipeline.Evaluated) (pipeline.Run, []byte, error) {
	var values map[string]string
	if e != nil {
		values = e.Variables
	}
	def, err := c.cfg.Vault.openChildren(def)
	if err != nil {
		return pipeline.Run{}, nil, pipeline.Errorf(pipeline.Invalid, "%w", err)
	}
	file, err := c.cfg.Compiler.parsed.parseChild(ctx, def, m)
	if err != nil {
		return pipeline.Run{}, nil, err
	}
	id := NewRunID()
	child, err := file.CompileChild(ctx, m, values, language.Inputs{Git: def.Scope.Git, RunID: string(id), Submitter: def.Scope.Submitter,
		Evaluator: evaluatorFor(c.cfg.Compiler.evaluators, def.Scope.Submitter)})
	if err != nil {
		return pipeline.Run{}, nil, err
	}
	raw, err := c.cfg.Vault.encodeDefinition(child)
	if err != nil {
		return pipeline.Run{}, nil, err
	}

	run := pipeline.Run{ID: id, Pipeline: child.Name, Modules: len(child.Modules)}
	run.Group, run.Cancels = groupOf(child)
	if !c.cfg.NoWebhooks {
		run.Notify = child.NotifyTargets()
	}
	return run, raw, c.checkGroup(parent, run.Group)
}

// checkGroup refuses a child in the concurrency group of a run that waits for it: it
// could never start.
func (c *Children) checkGroup(parent pipeline.Run, group string) error {
	if group == "" {
		return nil
	}
	return c.cfg.State.View(func(view *fsm.View) error {
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
